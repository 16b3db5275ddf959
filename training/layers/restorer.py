"""A U-Net that restores a spoilt image; what it adds to is as near to the image as can be had without a network.

| degradation | x                                                            | x_hat                                 |
|-------------|--------------------------------------------------------------|---------------------------------------|
| noise       | x + sigma n, and sigma (B,), negative where it is unknown    | x + u                                 |
| mask        | x, and `fill` in the holes                                   | the known pixels as they are, and u   |
| downscale   | means of factor × factor pixels (B, C, H/factor, W/factor)   | x, bilinearly enlarged, + u           |
| grey        | the channels' mean (B, 1, H, W)                              | x in each channel, + u                |

u is the U-Net's output (B, C, H, W).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contract.manifest import Restoration
from training.layers.pyramid import Contraction, Expansion, coarsest

FILL_MARGIN = 0.25
"""How far from [0, 1] `fill` must be, and how near to it a value that counts as a hole."""


class Restorer(nn.Module):
    """The `reconstruct` graph of a restoration: its x, and of noise sigma (B,), -> x_hat (B, C, H, W) in [0, 1]."""

    def __init__(self, shape: tuple[int, ...], restoration: Restoration, widths: tuple[int, ...], blocks: int):
        super().__init__()
        coarsest(shape, widths)
        self.channels, self.restoration = shape[0], restoration
        given = {"noise": self.channels + 1, "mask": 2 * self.channels, "downscale": self.channels, "grey": 1}
        self.contraction = Contraction(given[restoration.degradation], widths, blocks)
        self.expansion = Expansion(self.channels, widths, blocks)

    def forward(self, x: Tensor, sigma: Tensor | None = None) -> Tensor:
        x_hat = self.estimate(x, sigma).clamp(0, 1)
        return torch.where(self.hidden(x), x_hat, x) if self.restoration.degradation == "mask" else x_hat

    def estimate(self, x: Tensor, sigma: Tensor | None = None) -> Tensor:
        """x_hat before it is clipped."""
        base = given = x
        if sigma is not None:
            level_map = torch.zeros_like(x[:, :1]) + sigma.clamp(min=0)[:, None, None, None]  # 0: unknown
            given = torch.cat([x, level_map], dim=1)
        elif self.restoration.degradation == "mask":
            holes = self.hidden(x)
            base = torch.where(holes, 0.0, x)
            given = torch.cat([base, holes.to(x.dtype)], dim=1)
        elif self.restoration.degradation == "downscale":
            base = given = F.interpolate(x, scale_factor=float(self.restoration.factor or 1), mode="bilinear")
        maps = self.contraction(given)
        return base + self.expansion(maps[-1], maps[:-1])

    def hidden(self, x: Tensor) -> Tensor:
        """Where the holes of a mask are."""
        return (x - (self.restoration.fill or 0.0)).abs() < FILL_MARGIN
