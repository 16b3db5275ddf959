"""U-Net of a noisy image, its noise level and its class: F(x; c_noise, label), ADM's (Dhariwal & Nichol 2021) made small.

A patch-2 stem (pixel unshuffle) works on a quarter of the positions with four times the channels; blocks modulate a
group norm by the noise level and the class; attention is at the coarsest grid alone.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS_OF_GROUP = 16


def _norm(width: int, affine: bool = True) -> nn.GroupNorm:
    return nn.GroupNorm(max(1, width // CHANNELS_OF_GROUP), width, affine=affine)


class Block(nn.Module):
    """h + conv(silu(modulated norm(conv(silu(norm(h)))))), the identity at the start: (B, W, H', W') alike."""

    def __init__(self, width: int, embedding: int):
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2))
        self.norm, self.modulated_norm = _norm(width), _norm(width, affine=False)
        self.modulation = nn.Linear(embedding, 2 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        nn.init.zeros_(self.second.weight)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        gain, shift = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)  # (B, W, 1, 1) each
        r = self.first(F.silu(self.norm(h)))
        return h + self.second(F.silu(self.modulated_norm(r) * (1 + gain) + shift))


class Attention(nn.Module):
    """h + self-attention of the grid's positions, each seeing all: (B, W, H', W') alike."""

    def __init__(self, width: int, head: int):
        super().__init__()
        self.head, self.norm = head, _norm(width)
        self.qkv = nn.Conv2d(width, 3 * width, 1, bias=False)
        self.out = nn.Conv2d(width, width, 1, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, h: Tensor) -> Tensor:
        rows, columns = h.shape[2:]
        qkv = self.qkv(self.norm(h)).flatten(2).unflatten(1, (3, -1, self.head))
        q, k, v = qkv.unbind(1)  # (B, heads, head, positions) each
        # By hand: on a CPU torch's fused attention takes several times as long to differentiate for so few positions.
        weights = ((q * self.head**-0.5).mT @ k).softmax(dim=-1)  # (B, heads, positions, positions)
        attended = v @ weights.mT
        return h + self.out(attended.flatten(1, 2).unflatten(2, (rows, columns)))


class AttentiveBlock(nn.Module):
    def __init__(self, width: int, embedding: int, head: int):
        super().__init__()
        self.block, self.attention = Block(width, embedding), Attention(width, head)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        return self.attention(self.block(h, embedding))


class UNet(nn.Module):
    """x (B, C, H, W), c_noise (B,), label (B,) in [0, classes], `classes` for none -> (B, C, H, W).

    H and W are multiples of `multiple_of(widths)`; `widths` are from fine to coarse, and `blocks` on each grid's way down
    and up; the coarsest grid has as many for both.
    """

    frequencies: Tensor

    def __init__(
        self, channels: int, classes: int, widths: tuple[int, ...], blocks: int, embedding: int, head: int = 32
    ):
        super().__init__()
        steps = list(pairwise(widths))
        self.register_buffer("frequencies", torch.logspace(-0.5, 1.5, 16), persistent=False)
        self.level = nn.Sequential(nn.Linear(32, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.label = nn.Embedding(classes + 1, embedding)
        self.stem = nn.Conv2d(4 * channels, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList(nn.ModuleList(Block(w, embedding) for _ in range(blocks)) for w in widths[:-1])
        self.down = nn.ModuleList(nn.Conv2d(fine, coarse, 2, stride=2, bias=False) for fine, coarse in steps)
        self.middle = nn.ModuleList(AttentiveBlock(widths[-1], embedding, head) for _ in range(2 * blocks))
        self.up = nn.ModuleList(nn.Conv2d(coarse, 4 * fine, 1, bias=False) for fine, coarse in steps)
        self.decoder = nn.ModuleList(nn.ModuleList(Block(w, embedding) for _ in range(blocks)) for w in widths[:-1])
        self.head_norm = _norm(widths[0])
        self.head = nn.Conv2d(widths[0], 4 * channels, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor, c_noise: Tensor, label: Tensor) -> Tensor:
        angles = c_noise[:, None] * self.frequencies  # (B, 16)
        embedding = F.silu(self.level(torch.cat([angles.cos(), angles.sin()], dim=1)) + self.label(label))
        h = self.stem(F.pixel_unshuffle(x, 2))  # (B, W0, H/2, W/2)
        skips = []
        for blocks, down in zip(self.encoder, self.down, strict=True):
            for block in blocks:
                h = block(h, embedding)
            skips.append(h)
            h = down(h)
        for block in self.middle:
            h = block(h, embedding)
        for blocks, up in reversed(list(zip(self.decoder, self.up, strict=True))):
            h = F.pixel_shuffle(up(h), 2) + skips.pop()
            for block in blocks:
                h = block(h, embedding)
        return F.pixel_shuffle(self.head(F.silu(self.head_norm(h))), 2)


def multiple_of(widths: tuple[int, ...]) -> int:
    """What the sides of an image must be multiples of: the stem halves them once, and each further width once more."""
    return 2 ** len(widths)
