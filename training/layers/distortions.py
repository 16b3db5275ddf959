"""Small changes of an image that leave what it shows: turned, moved, sheared, scaled, bent, made bolder, hidden in part.

Images are x (B, C, H, W) in [0, 1] on a background of 0; every draw is the given generator's, each image has its own.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from training.family import Frozen

BEND_KNOTS = 4


class Distortions(Frozen):
    """How far images are changed; 0 leaves a change out.

    `turn` in degrees, `scale` and `stretch` as shares, `shear` as a slope, `shift` in shares of the side: all uniform up
    to that size. `bend` is the standard deviation of a smooth displacement, in shares of the side (Simard et al. 2003).
    `bold` is the largest share of a 3×3 dilation or erosion, `hide` the largest side of an erased square (Zhong et al.
    2020, arXiv 1708.04896), in shares of the side.
    """

    turn: float = 0.0
    scale: float = 0.0
    stretch: float = 0.0
    shear: float = 0.0
    shift: float = 0.0
    bend: float = 0.0
    bold: float = 0.0
    hide: float = 0.0

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Changed images of the same shape, without gradients and in float32 at any precision of the training."""
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            x = self._warped(self._bolder(x.float(), generator), generator)
            return self._hidden(x, generator)

    def _warped(self, x: Tensor, generator: torch.Generator) -> Tensor:
        def uniform(size: float) -> Tensor:
            return size * (2 * torch.rand(len(x), generator=generator, device=x.device) - 1)

        angle, scale, stretch = uniform(math.radians(self.turn)), uniform(self.scale).exp(), uniform(self.stretch).exp()
        shear, right, down = uniform(self.shear), uniform(2 * self.shift), uniform(2 * self.shift)
        cos, sin = angle.cos(), angle.sin()
        first = torch.stack([scale * stretch * cos, scale * (shear * cos - sin), right], dim=1)
        second = torch.stack([scale * stretch * sin, scale * (shear * sin + cos) / stretch, down], dim=1)
        grid = F.affine_grid(torch.stack([first, second], dim=1), list(x.shape), align_corners=False)  # (B, H, W, 2)
        if self.bend:
            knots = (len(x), 2, BEND_KNOTS, BEND_KNOTS)
            knots = 2 * self.bend * torch.randn(knots, generator=generator, device=x.device)
            grid = grid + F.interpolate(knots, x.shape[2:], mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
        return F.grid_sample(x, grid, align_corners=False)

    def _bolder(self, x: Tensor, generator: torch.Generator) -> Tensor:
        if not self.bold:
            return x
        share = self.bold * (2 * torch.rand(len(x), 1, 1, 1, generator=generator, device=x.device) - 1)
        dilated, eroded = F.max_pool2d(x, 3, 1, 1), -F.max_pool2d(-x, 3, 1, 1)
        return torch.where(share > 0, x + share * (dilated - x), x - share * (eroded - x))

    def _hidden(self, x: Tensor, generator: torch.Generator) -> Tensor:
        if not self.hide:
            return x
        height, width = x.shape[2:]
        side, top, left = torch.rand(3, len(x), 1, 1, generator=generator, device=x.device)
        side = self.hide * side
        rows = torch.arange(height, device=x.device)[None, :, None] / height - (1 + side) * top + side
        columns = torch.arange(width, device=x.device)[None, None, :] / width - (1 + side) * left + side
        inside = (rows >= 0) & (rows < side) & (columns >= 0) & (columns < side)  # (B, H, W)
        return x.masked_fill(inside[:, None], 0.0)
