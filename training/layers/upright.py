"""An image set upright: moved to the middle, its slant taken out, scaled to a usual spread, all by its moments.

With mass m = grey level at (row r, column c), centroid (r0, c0), variances v_r and v_c and covariance v_rc, the slant is
v_rc / v_r columns a row (deskewing: LeCun et al. 1998, section III.A, after Teague 1980), and what is left of the columns'
variance v_c - v_rc^2 / v_r.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAST_INK = 0.5  # of white pixels, and
LEAST_VARIANCE = 0.25  # of pixels squared: an empty image has some centre and spread too
STEEPEST = 1.5
SMALLEST, LARGEST = 0.5, 2.0


class Moments(nn.Module):
    """x (B, 1, H, W) -> (B, 6): ink in white pixels, r0, c0 from the middle, v_r, v_c, v_rc in pixels."""

    def __init__(self, height: int, width: int):
        super().__init__()
        self.rows, self.columns = (
            torch.stack([(torch.arange(side) - (side - 1) / 2) ** power for power in range(3)])
            for side in (height, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        sums = (self.rows @ x @ self.columns.T).flatten(1)  # sum of m r^i c^j at 3 i + j
        ink = sums[:, :1].clamp(min=LEAST_INK)
        row, column = sums[:, 3:4] / ink, sums[:, 1:2] / ink
        of_rows = (sums[:, 6:7] / ink - row * row).clamp(min=LEAST_VARIANCE)
        of_columns = (sums[:, 2:3] / ink - column * column).clamp(min=LEAST_VARIANCE)
        return torch.cat([sums[:, :1], row, column, of_rows, of_columns, sums[:, 4:5] / ink - row * column], dim=1)


class Upright(nn.Module):
    """x (B, 1, H, W) and its moments (B, 6) -> x upright, (B, 1, H, W). `spread` are usual deviations in pixels."""

    spread: Tensor

    def __init__(self, height: int, width: int):
        super().__init__()
        self.register_buffer("spread", torch.tensor([height / 5, width / 7]))
        rows, columns = torch.meshgrid(
            *(torch.arange(side) - (side - 1) / 2 for side in (height, width)), indexing="ij"
        )
        self.rows, self.columns = rows, columns
        self.halves = torch.tensor([width / 2, height / 2])

    def fit(self, moments: Tensor) -> None:
        """Have the mean spread of images with moments (n, 6) be the usual one."""
        _, of_rows, of_columns = _slant(moments)
        self.spread.copy_(torch.stack([of_rows.sqrt().mean(), of_columns.sqrt().mean()]))

    def forward(self, x: Tensor, moments: Tensor) -> Tensor:
        slant, tall, wide = self._shape(moments)
        rows = moments[:, 1, None, None] + tall * self.rows
        columns = moments[:, 2, None, None] + wide * self.columns + slant * tall * self.rows
        return self._sampled(x, rows, columns)

    def back(self, upright: Tensor, moments: Tensor) -> Tensor:
        """Values of the upright image where they are in the image itself, (B, 1, H, W)."""
        slant, tall, wide = self._shape(moments)
        down = self.rows - moments[:, 1, None, None]
        across = self.columns - moments[:, 2, None, None]
        return self._sampled(upright, down / tall, (across - slant * down) / wide)

    def _shape(self, moments: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The slant, and how many pixels of the image are one of the upright image, along and across: (B, 1, 1) each."""
        slant, of_rows, of_columns = _slant(moments)
        tall = (of_rows.sqrt() / self.spread[0]).clamp(SMALLEST, LARGEST)
        wide = (of_columns.sqrt() / self.spread[1]).clamp(SMALLEST, LARGEST)
        return slant[:, None, None], tall[:, None, None], wide[:, None, None]

    def _sampled(self, x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        grid = torch.stack([columns, rows], dim=3) / self.halves
        return F.grid_sample(x, grid, align_corners=False)


def _slant(moments: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of moments (B, 6): the slant, v_r, and v_c without the slant, (B,) each."""
    slant = (moments[:, 5] / moments[:, 3]).clamp(-STEEPEST, STEEPEST)
    return slant, moments[:, 3], (moments[:, 4] - slant * moments[:, 5]).clamp(min=LEAST_VARIANCE)
