"""Columns bent to a normal distribution by their ranks (van der Waerden 1952): what is rare counts, not what is large.

Of a column's values v with shares F(v) below them, half of the equal ones included, z = Phi^-1(F(v)), piecewise linear
between at most KNOTS quantiles. Beyond the least and the greatest known value it goes on with a slope of one.
"""

import torch
from torch import Tensor, nn

KNOTS = 48


class RankGaussian(nn.Module):
    """x (B, D) of about unit variance -> z (B, D), rising in each column. The identity until `fit`."""

    first: Tensor
    last: Tensor
    base: Tensor
    starts: Tensor
    widths: Tensor
    slopes: Tensor

    def __init__(self, size: int, knots: int = KNOTS):
        super().__init__()
        for name in ("first", "last", "base"):
            self.register_buffer(name, torch.zeros(size))
        for name in ("starts", "widths", "slopes"):
            self.register_buffer(name, torch.zeros(size, knots - 1))

    def fit(self, x: Tensor) -> None:
        """Of rows (n, D)."""
        for column, values in enumerate(x.double().T):
            known, rank = _known(values, self.starts.shape[1] + 1)
            widths, rises = known.diff(), rank.diff()
            pieces = len(widths)
            self.first[column], self.last[column], self.base[column] = known[0], known[-1], rank[0]
            for buffer in (self.starts, self.widths, self.slopes):
                buffer[column] = 0
            self.starts[column, :pieces], self.widths[column, :pieces] = known[:-1].float(), widths.float()
            self.slopes[column, :pieces] = (rises / widths).float()

    def forward(self, x: Tensor) -> Tensor:
        # Pieces that only add up: a difference of large numbers would lose digits.
        risen = (
            torch.minimum((x[:, :, None] - self.starts).clamp(min=0), self.widths) * self.slopes
        )  # (B, D, knots - 1)
        inside = (risen @ risen.new_ones(risen.shape[2], 1)).squeeze(2)
        return self.base + inside + (x - self.first).clamp(max=0) + (x - self.last).clamp(min=0)


def _known(values: Tensor, knots: int) -> tuple[Tensor, Tensor]:
    """Up to `knots` different values of a column (n,), rising, and their normal quantiles."""
    known, counts = values.unique(return_counts=True)
    half = 0.5 / len(values)
    shares = ((counts.cumsum(0) - counts / 2) / len(values)).clamp(half, 1 - half)
    if len(known) > knots:
        at = torch.searchsorted(shares, torch.linspace(0, 1, knots, dtype=shares.dtype)).clamp(max=len(known) - 1)
        at = at.unique()
        known, shares = known[at], shares[at]
    return known, torch.special.ndtri(shares)
