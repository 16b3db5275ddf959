"""Generator and discriminator without normalisation: residual blocks that start as the identity (fix-up), as in R3GAN.

z (B, Z), label (B,) -> Generator -> x (B, C, H, W) in [0, 1] -> Discriminator, with label -> (B,) -> Authenticity (B,).
Huang et al. 2024 (arXiv 2501.05441); fix-up: Zhang et al. 2019 (arXiv 1901.09321). Resolution changes by pixel shuffle.
"""

import math
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2
LANES = 16


def _activate(h: Tensor) -> Tensor:
    return F.leaky_relu(h, SLOPE) * 2**0.5


class Range(torch.autograd.Function):
    """Clips to [0, 1]. A value outside learns to come back in, with the gradient of the bound, and never to go further.

    A sigmoid soon stops to learn; a slope outside, in training alone, leaves the background grey.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        outwards = ((x < 0) & (gradient > 0)) | ((x > 1) & (gradient < 0))  # descent is against the gradient
        return gradient.masked_fill(outwards, 0)


class ResidualBlock(nn.Module):
    """h + conv(act(conv(act(h)))), started as the identity; `depth` blocks in a network share the gain."""

    def __init__(self, width: int, depth: int):
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        nn.init.normal_(self.first.weight, std=(9 * width) ** -0.5 * depth**-0.5)
        nn.init.zeros_(self.first.bias)
        nn.init.zeros_(self.second.weight)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.second(_activate(self.first(_activate(h))))


def _stage(width: int, blocks: int, depth: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(width, depth) for _ in range(blocks)))


class Generator(nn.Module):
    """z (B, Z) and label (B,), where there are classes -> x (B, C, H, W) in [0, 1], in two doublings from (H/4, W/4)."""

    def __init__(self, shape: tuple[int, ...], latent: int, classes: int, widths: tuple[int, int, int], blocks: int):
        super().__init__()
        channels, height, width = shape
        self.grid = (widths[0], height // 4, width // 4)
        self.embedding = nn.Embedding(classes, latent) if classes else None
        self.start = nn.Linear(2 * latent if classes else latent, math.prod(self.grid))
        self.stages = nn.ModuleList(_stage(w, blocks, 3 * blocks) for w in widths)
        self.up = nn.ModuleList(nn.Conv2d(a, 4 * b, 1, bias=False) for a, b in pairwise(widths))
        self.head = nn.Conv2d(widths[-1], channels, 3, padding=1)
        nn.init.constant_(self.head.bias, 0.5)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        z = z * z.square().mean(1, keepdim=True).add(1e-8).rsqrt()
        known = z if self.embedding is None else torch.cat([z, self.embedding(label)], dim=1)
        h = self.start(known).unflatten(1, self.grid)  # (B, W0, H/4, W/4)
        h = self.stages[0](h)
        for up, stage in zip(self.up, self.stages[1:], strict=True):
            h = stage(F.pixel_shuffle(up(h), 2))
        return Range.apply(self.head(_activate(h)))


class Discriminator(nn.Module):
    """x (B, C, H, W) in [0, 1] and label (B,) -> authenticity (B,), unbounded."""

    def __init__(self, shape: tuple[int, ...], classes: int, widths: tuple[int, int], features: int, blocks: int):
        super().__init__()
        channels, height, width = shape
        self.stem = nn.Conv2d(4 * channels, widths[0], 3, padding=1)
        self.stages = nn.ModuleList(_stage(w, blocks, 2 * blocks) for w in widths)
        self.down = nn.Conv2d(4 * widths[0], widths[1], 1, bias=False)
        self.end = nn.Linear(widths[1] * (height // 4) * (width // 4), features)
        self.embedding = nn.Embedding(max(classes, 1), features)
        self.scale = features**-0.5

    def features(self, x: Tensor) -> Tensor:
        h = self.stem(F.pixel_unshuffle(2 * x - 1, 2))  # (B, W0, H/2, W/2)
        h = self.down(F.pixel_unshuffle(self.stages[0](h), 2))
        return self.end(_activate(self.stages[1](h)).flatten(1)) * self.scale  # (B, features)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        return (self.features(x) * self.embedding(label)).sum(1)


class Authenticity(nn.Module):
    """The `log_density` graph of a discriminator: x (B, C, H, W) -> log mean over labels of exp D(x, label), (B,).

    A critic's score, higher for what looks real; no density, and its zero means nothing.
    """

    def __init__(self, discriminator: Discriminator):
        super().__init__()
        self.discriminator = discriminator

    def forward(self, x: Tensor) -> Tensor:
        scores = self.discriminator.features(x) @ self.discriminator.embedding.weight.T  # (B, K)
        most = scores.amax(1, keepdim=True)
        mean = (scores - most).exp() @ scores.new_full((scores.shape[1], LANES), 1 / scores.shape[1])
        return (most + mean.log())[:, 0]  # the sum as a matrix product, the logarithm of full lanes: alike in any batch
