"""How near the nearest known points are: minus the mean distance to the k nearest, by one matrix product and TopK.

Distances to the k-th nearest neighbour as scores of novelty: Ramaswamy et al. 2000; their mean: Angiulli & Pizzuti 2002.
Thousands of points may be thinned out to prototypes first (`prototypes`).
"""

import torch
from torch import Tensor, nn


class Nearest(nn.Module):
    """x (B, D) -> minus the mean Euclidean distance to the `k` nearest of P points, (B,). All points are 0 until `fit`.

    |x - p|^2 = |x|^2 - 2 x·p + |p|^2, around the points' mean, so that little is lost to rounding.
    """

    centre: Tensor
    points: Tensor

    def __init__(self, size: int, points: int, k: int):
        super().__init__()
        if not 1 <= k <= points:
            raise ValueError(f"k: expected 1 to {points}, the number of points, found {k}")
        self.k = k
        self.register_buffer("centre", torch.zeros(size))
        self.register_buffer("points", torch.zeros(points, size))

    def fit(self, points: Tensor) -> None:
        """Keep points (P, D)."""
        self.centre.copy_(points.mean(0))
        self.points.copy_(points - points.mean(0))

    def squares(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Squared distances to the k nearest, nearest first, and their numbers: (B, k) twice."""
        x = x - self.centre
        ones = x.new_ones(x.shape[1], 1)
        squares = (x * x) @ ones - 2 * x @ self.points.T + (self.points * self.points).sum(1)  # (B, P)
        values, numbers = squares.topk(self.k, largest=False)
        return values.clamp(min=0), numbers

    def parts(self, x: Tensor) -> Tensor:
        """Each column's share of the mean squared distance to the k nearest, (B, D); they add up to it."""
        _, numbers = self.squares(x)
        away = (x - self.centre)[:, None] - self.points[numbers]  # (B, k, D)
        return (away * away).mean(1)

    def forward(self, x: Tensor) -> Tensor:
        return -self.mean_distance(self.squares(x)[0])

    def mean_distance(self, squares: Tensor) -> Tensor:
        """Of squared distances (B, k), (B,)."""
        return (squares.sqrt() @ squares.new_ones(self.k, 1)).squeeze(1) / self.k


def prototypes(x: Tensor, count: int, generator: torch.Generator, rounds: int = 10) -> Tensor:
    """At most `count` centres of rows (n, D) by k-means (Lloyd 1982), from rows drawn without replacement."""
    centres = x[torch.randperm(len(x), generator=generator)[:count]].clone()
    for _ in range(rounds if count < len(x) else 0):
        nearest = torch.cat([torch.cdist(part, centres).argmin(1) for part in x.split(4096)])
        sums = torch.zeros_like(centres).index_add_(0, nearest, x)
        members = torch.bincount(nearest, minlength=len(centres))[:, None]
        centres = torch.where(members > 0, sums / members.clamp(min=1), centres)
    return centres
