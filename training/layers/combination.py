"""Several statistics of an item as one, by how rare each is among normal items.

t_k(s) = log of the share of held-out normal items whose statistic k is as low as s. Their sum is Fisher's way to combine
p-values (1932), up to its factor of -2; the length of (t_1 … t_N) gives more weight to the rarest one, which alone tells of
an anomaly that the others do not see. Where the statistics depend on each other neither is a p-value, but a score like any
other, which is calibrated on held-out data itself.

Each t_k is a line through quantiles that lie the closer the rarer they are; below the least of them it goes on straight,
so that what is far out is told from what is farther out.
"""

import torch
from torch import Tensor, nn

KNOTS = 32
STEEPNESS = 1e-4
"""The least share of a statistic's spread that lies between two knots. Where many items are alike, as lines of a log are, the
tail would rise in steps, and what a float32 rounds would decide on which side of one an item lies."""


class TailLogProbability(nn.Module):
    """statistics (B, N), higher is more normal -> log tail shares (B, N), at most 0 and linear below the lowest knot."""

    lowest: Tensor
    widths: Tensor
    rises: Tensor
    slope: Tensor

    def __init__(self, count: int, knots: int = KNOTS):
        super().__init__()
        self.register_buffer("lowest", torch.zeros(count, knots - 1))
        self.register_buffer("widths", torch.ones(count, knots - 1))
        self.register_buffer("rises", torch.zeros(count, knots - 1))
        self.register_buffer("slope", torch.ones(count))

    def fit(self, held_out: Tensor) -> None:
        """Of the statistics of held-out normal items, (n, N)."""
        knots = self.lowest.shape[1] + 1
        rarest = min(0.5, 5 / len(held_out))
        shares = torch.logspace(torch.log10(torch.tensor(rarest)).item(), 0, knots, dtype=torch.float64)
        values = held_out.double().quantile(shares, dim=0).T  # (N, knots)
        spread = (values[:, -1] - values[:, 0]).clamp(min=STEEPNESS)
        widths = values.diff().clamp(min=STEEPNESS * spread[:, None])
        rises = shares.log().diff().expand_as(widths)
        self.lowest.copy_(values[:, :1] + torch.nn.functional.pad(widths.cumsum(1)[:, :-1], (1, 0)))
        self.widths.copy_(widths)
        self.rises.copy_(rises)
        decade = max(1, int((shares <= 10 * rarest).sum()) - 1)  # how many steps give the tail its slope
        self.slope.copy_(rises[:, :decade].sum(1) / widths[:, :decade].sum(1))

    def forward(self, statistics: Tensor) -> Tensor:
        beyond = (statistics[:, :, None] - self.lowest) / self.widths  # (B, N, knots - 1)
        steps = self.rises * (beyond.clamp(0, 1) - 1)
        inside = (steps @ steps.new_ones(steps.shape[2], 1)).squeeze(2)  # (B, N)
        return inside + self.slope * (statistics - self.lowest[:, 0]).clamp(max=0)


def rarity(tails: Tensor) -> Tensor:
    """The length of rows of tail log-probabilities (B, N): (B, 1), in nats, 0 for the most normal item of all."""
    return ((tails * tails) @ tails.new_ones(tails.shape[1], 1)).sqrt()
