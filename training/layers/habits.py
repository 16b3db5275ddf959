"""An image's habits in numbers: how much ink, where, how spread, how grey, how rough, how connected.

For a density over several statistics of an item (DoSE: Morningstar et al. 2021, arXiv 2006.09273), which is two-sided: too
simple is as strange as too rough.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

INKED = 0.25
SIZE = 19


class Habits(nn.Module):
    """x (B, 1, H, W) in [0, 1], the same in grey levels of 0 to 255, and its moments (B, 6) -> (B, 19).

    Ink, centroid, deviations and correlation; first and last inked row and column; total variation, squared Laplacian,
    squared differences; shares of pixels in five ranges of grey; and how many pieces there are less how many holes.
    """

    def __init__(self, height: int, width: int):
        super().__init__()
        self.rows, self.columns = torch.arange(height).float(), torch.arange(width).float()

    def forward(self, x: Tensor, levels: Tensor, moments: Tensor) -> Tensor:
        ink, row, column, of_rows, of_columns, both = moments.unbind(1)
        tall, wide = of_rows.sqrt(), of_columns.sqrt()
        place = [ink, row, column, tall, wide, both / (tall * wide)]
        extent = [*_extent(x.amax((1, 3)), self.rows), *_extent(x.amax((1, 2)), self.columns)]
        greys = [
            ((levels >= first) & (levels < last)).to(x.dtype).flatten(1)
            for first, last in ((0, 1), (1, 64), (64, 192), (192, 254), (254, 256))
        ]
        pixels = [*_roughness(x), *greys, _euler(x)]
        return torch.stack([*place, *extent, *(_sum(p) for p in pixels)], dim=1)


def _sum(values: Tensor) -> Tensor:
    """Of each row (B, N), as a product: a sum of ONNX Runtime's depends on the batch."""
    return (values @ values.new_ones(values.shape[1], 1)).squeeze(1)


def _extent(profile: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """The first and the last place (B,) of a profile (B, side) with ink; the ends, crossed, where there is none."""
    inked = profile > INKED
    first = torch.where(inked, places, float(len(places))).amin(1)
    return first, torch.where(inked, places, -1.0).amax(1)


def _roughness(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What adds up to the total variation, the squared Laplacian and the squared differences: (B, N) each."""
    down, across = (x[:, :, 1:] - x[:, :, :-1]).flatten(1), (x[..., 1:] - x[..., :-1]).flatten(1)
    differences = torch.cat([down, across], dim=1)
    padded = F.pad(x, (1, 1, 1, 1))
    around = padded[:, :, 2:, 1:-1] + padded[:, :, :-2, 1:-1] + padded[:, :, 1:-1, 2:] + padded[:, :, 1:-1, :-2]
    laplacian = (around - 4 * x).flatten(1)
    return differences.abs(), laplacian * laplacian, differences * differences


def _euler(x: Tensor) -> Tensor:
    """What adds up to the Euler number of the brighter half, 8-connected: (B, N), by squares of 2 × 2 (Gray 1971)."""
    bright = F.pad((x > 0.5).to(x.dtype), (1, 1, 1, 1))
    corners = bright[:, :, :-1, :-1], bright[:, :, :-1, 1:], bright[:, :, 1:, :-1], bright[:, :, 1:, 1:]
    count = corners[0] + corners[1] + corners[2] + corners[3]
    diagonal = ((count == 2) & (corners[0] == corners[3])).to(x.dtype)
    return ((count == 1).to(x.dtype) - (count == 3).to(x.dtype) - 2 * diagonal).flatten(1) / 4
