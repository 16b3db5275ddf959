"""What a restoration undoes: images spoilt at random, in the words of the manifest's `restoration`.

x (B, C, H, W) in [0, 1] -> the inputs of `reconstruct`, by name. All randomness is the generator's.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from contract.manifest import Restoration
from training.family import Batch

MOST_RECTANGLES = 3
HALVES = ((0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 0.5, 1.0), (0.0, 0.0, 1.0, 0.5), (0.0, 0.5, 1.0, 0.5))
"""Upper, lower, left and right: top, left, height and width, as shares of the sides."""


def degraded(
    x: Tensor, restoration: Restoration, sigma_range: tuple[float, float] | None, generator: torch.Generator
) -> Batch:
    """Noise is Gaussian and never clipped, of a level drawn from `sigma_range`, which comes along as `sigma` (B,)."""
    if restoration.degradation == "noise":
        low, high = sigma_range or (0.0, 0.0)
        sigma = low + (high - low) * torch.rand(len(x), generator=generator, device=x.device)
        noise = torch.randn(x.shape, generator=generator, device=x.device)
        return {"x": x + sigma[:, None, None, None] * noise, "sigma": sigma}
    if restoration.degradation == "mask":
        return {"x": torch.where(holes(x, generator), restoration.fill or 0.0, x)}
    if restoration.degradation == "downscale":
        return {"x": F.avg_pool2d(x, restoration.factor or 1)}
    return {"x": x.mean(1, keepdim=True)}  # grey


def holes(x: Tensor, generator: torch.Generator) -> Tensor:
    """Where to hide pixels: in one image of four a half, in the others up to three rectangles; (B, 1, H, W), bool.

    A rectangle's sides are from an eighth to a half of the image's.
    """
    size, (height, width) = len(x), x.shape[2:]

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=x.device)

    sides = 1 / 8 + 3 / 8 * uniform(size, MOST_RECTANGLES, 2)
    corners = (1 - sides) * uniform(size, MOST_RECTANGLES, 2)
    number = (MOST_RECTANGLES * uniform(size, 1)).long()  # beyond the first
    sides = sides * (torch.arange(MOST_RECTANGLES, device=x.device) <= number)[:, :, None]
    half = torch.tensor(HALVES, device=x.device)[(len(HALVES) * uniform(size)).long()]  # (B, 4)
    rectangles = torch.where((uniform(size) < 0.25)[:, None, None], half[:, None], torch.cat([corners, sides], dim=2))
    top, left, tall, wide = rectangles[:, :, :, None, None].unbind(2)  # (B, R, 1, 1) each
    row = (torch.arange(height, device=x.device) + 0.5)[:, None] / height
    column = (torch.arange(width, device=x.device) + 0.5) / width
    inside = (row >= top) & (row < top + tall) & (column >= left) & (column < left + wide)  # (B, R, H, W)
    return inside.any(1, keepdim=True)
