"""Histograms of oriented gradients of an image (Dalal & Triggs 2005), smooth in everything, as products of matrices.

Eight directions u_k; a gradient g adds |g| max(0, cos(g, u_k))^3 to direction k, at each of (H / 4) × (W / 4) cells with a
triangular weight that reaches one and a half cells far. Of an image the histogram is divided by its length, and its root
taken (Hellinger's distance: Arandjelović & Zisserman 2012).
"""

import math

import torch
from torch import Tensor, nn

DIRECTIONS = 8
CELL = 4
REACH = 1.5  # cells
FAINT = 0.05
"""What is added to the length: the histogram of an image with much less gradient than this is near 0."""


class GradientHistograms(nn.Module):
    """x (B, 1, H, W) -> (B, size), non-negative."""

    def __init__(self, height: int, width: int):
        super().__init__()
        self.cells = (height // CELL, width // CELL)
        self.size = DIRECTIONS * math.prod(self.cells)
        self.smooth, self.slope, self.pool = zip(*(_matrices(side) for side in (height, width)), strict=True)
        angles = torch.arange(DIRECTIONS) * 2 * math.pi / DIRECTIONS
        self.cos, self.sin = angles.cos()[:, None, None], angles.sin()[:, None, None]

    def forward(self, x: Tensor) -> Tensor:
        across = self.smooth[0] @ x @ self.slope[1].T
        down = self.slope[0] @ x @ self.smooth[1].T
        length = (across * across + down * down).sqrt().clamp(min=1e-6)
        along = (across * self.cos + down * self.sin).clamp(min=0) / length  # (B, 8, H, W)
        found = (self.pool[0] @ (length * along * along * along) @ self.pool[1].T).flatten(1)
        whole = ((found * found) @ found.new_ones(self.size, 1)).sqrt()
        return (found / (whole + FAINT)).sqrt()

    def to_pixels(self, parts: Tensor) -> Tensor:
        """Each value's part (B, size) spread over the pixels of its cell, (B, 1, H, W)."""
        cells = parts.unflatten(1, (DIRECTIONS, *self.cells))
        return (self.pool[0].T @ cells @ self.pool[1]).mean(1, keepdim=True)


def _matrices(side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Along one side: a blur of (1/4, 1/2, 1/4), central differences of it, and the cells' weights (cells, side)."""

    def shifted(by: int) -> Tensor:
        return torch.diag(torch.ones(side - abs(by)), by)

    smooth = 0.25 * shifted(-1) + 0.5 * torch.eye(side) + 0.25 * shifted(1)
    centres = CELL * torch.arange(side // CELL)[:, None] + (side % CELL + CELL - 1) / 2
    weights = (1 - (torch.arange(side) - centres).abs() / (REACH * CELL)).clamp(min=0)
    return smooth, (shifted(1) - shifted(-1)) @ smooth, weights / (REACH * CELL)
