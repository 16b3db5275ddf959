"""The nearest of thousands of points, by one matrix product and two small selections instead of one large one.

|x - p|^2 = |x|^2 - 2 (x·p - |p|^2 / 2): the nearest points are those of the largest x·p - |p|^2 / 2, a product of x and 1.
They are sought in the k groups whose best ones are the largest, for no other group can hold any of them. TopK of all points
would take twice as long as the product itself. Groups grow with the root of the number of points: one TopK looks at as many
values as there are groups, the other at k groups of them.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

_LEAST_GROUP, _OF_ROOT = 16, 0.2
_NEVER = -1e30


class Closest(nn.Module):
    """x (B, D) -> the squared differences to the `k` nearest of points (P, D), column by column: (B, k, D)."""

    def __init__(self, points: Tensor, k: int):
        super().__init__()
        count, size = points.shape
        if not 1 <= k <= count:
            raise ValueError(f"k: expected 1 to {count}, the number of points, found {k}")
        self.k, self.points = k, points
        group = max(_LEAST_GROUP, int(_OF_ROOT * count**0.5))
        self.groups = max(k, -(-count // group))  # point i is in group i % groups
        places = self.groups * -(-count // self.groups)
        self.directions = torch.zeros(size + 1, places)
        self.directions[:size, :count] = points.T
        self.members = torch.arange(places).reshape(-1, self.groups).T.contiguous()  # (groups, group)
        self.directions[size] = torch.cat([-0.5 * points.square().sum(1), torch.full((places - count,), _NEVER)])

    def numbers(self, x: Tensor) -> Tensor:
        """Which points are the nearest, in no order: (B, k)."""
        likeness = functional.pad(x, (0, 1), value=1.0) @ self.directions
        best = likeness.reshape(len(x), -1, self.groups).amax(1).topk(self.k, sorted=False).indices  # (B, k)
        among = functional.embedding(best, self.members).flatten(1)  # (B, group * k)
        return among.gather(1, likeness.gather(1, among).topk(self.k, sorted=False).indices)

    def forward(self, x: Tensor) -> Tensor:
        away = x[:, None] - functional.embedding(self.numbers(x), self.points)
        return away * away
