"""The two halves of a U-Net (Ronneberger et al. 2015, arXiv 1505.04597), which are an encoder and a decoder without skips.

Each level halves the sides. Kernels of 4 at stride 2 put as much on every position, and so draw no checkerboard (Odena et
al. 2016, Deconvolution and Checkerboard Artifacts).
"""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """h + conv(relu(conv(relu(h)))), the identity at the start: (B, W, H', W') alike."""

    def __init__(self, width: int):
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        nn.init.zeros_(self.second.weight)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.second(F.relu(self.first(F.relu(h))))


def _stages(widths: Sequence[int], blocks: int) -> nn.ModuleList:
    return nn.ModuleList(nn.Sequential(*(ResidualBlock(width) for _ in range(blocks))) for width in widths)


class Contraction(nn.Module):
    """x (B, C, H, W) -> one map for each width, from fine to coarse: (B, W0, H, W), (B, W1, H/2, W/2), ..."""

    def __init__(self, channels: int, widths: Sequence[int], blocks: int):
        super().__init__()
        self.stem = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.stages = _stages(widths, blocks)
        self.down = nn.ModuleList(nn.Conv2d(fine, coarse, 4, 2, 1) for fine, coarse in pairwise(widths))

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = [self.stages[0](self.stem(x))]
        for down, stage in zip(self.down, self.stages[1:], strict=True):
            maps.append(stage(down(maps[-1])))
        return maps


class Expansion(nn.Module):
    """The coarsest map (B, W, H', W') -> (B, C, H, W); `skips`, from fine to coarse, are added on the way where given."""

    def __init__(self, channels: int, widths: Sequence[int], blocks: int):
        super().__init__()
        self.stages = _stages(widths, blocks)
        self.up = nn.ModuleList(nn.ConvTranspose2d(coarse, fine, 4, 2, 1) for fine, coarse in pairwise(widths))
        self.head = nn.Conv2d(widths[0], channels, 3, padding=1)

    def forward(self, h: Tensor, skips: Sequence[Tensor] = ()) -> Tensor:
        h = self.stages[-1](h)
        for level in reversed(range(len(self.up))):
            h = self.up[level](F.relu(h))
            h = self.stages[level](h + skips[level] if skips else h)
        return self.head(F.relu(h))


def coarsest(shape: Sequence[int | None], widths: Sequence[int]) -> tuple[int, int]:
    """The sides of the coarsest map of an image (C, H, W).

    Raises ValueError where they do not come out even.
    """
    multiple = 2 ** (len(widths) - 1)
    if len(shape) != 3 or any(side is None or side % multiple for side in shape[1:]):
        raise ValueError(f"data.shape: expected (C, H, W) with sides in multiples of {multiple}, found {tuple(shape)}")
    _, height, width = (side or 0 for side in shape)
    return height // multiple, width // multiple
