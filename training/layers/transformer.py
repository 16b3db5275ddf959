"""The transformer's layers: rotary positions, query-key norm, shared key/value heads, squared ReLU.

Shapes: tokens are (B, T, W); queries (B, T, H, E); keys and values (B, T, H_kv, E); W = H E.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def rms_norm(x: Tensor) -> Tensor:
    return F.rms_norm(x, (x.shape[-1],), eps=1e-6)


def rotary_tables(positions: int, size: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines, (positions, size / 2) each."""
    frequencies = 10_000.0 ** (-torch.arange(0, size, 2) / size)
    angles = torch.arange(positions)[:, None] * frequencies
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate halves of the last axis against each other: (B, H, T, E) by (T, E / 2)."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, kv_heads: int):
        super().__init__()
        self.heads, self.kv_heads, self.size = heads, kv_heads, width // heads
        self.qkv = nn.Linear(width, (heads + 2 * kv_heads) * self.size, bias=False)
        self.gain = nn.Parameter(torch.ones(heads, 1))
        self.out = nn.Linear(width, width, bias=False)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Normed queries (B, T, H, E), normed keys and plain values (B, T, H_kv, E), none of them rotated."""
        qkv = self.qkv(x).unflatten(-1, (self.heads + 2 * self.kv_heads, self.size))
        q, k, v = qkv.split([self.heads, self.kv_heads, self.kv_heads], dim=-2)
        return rms_norm(q) * self.gain, rms_norm(k), v

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        q, k, v = (t.transpose(1, 2) for t in self.project(x))  # (B, H, T, E)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        shared = self.heads // self.kv_heads
        k, v = k.repeat_interleave(shared, dim=1), v.repeat_interleave(shared, dim=1)
        y = F.scaled_dot_product_attention(q, k.to(q.dtype), v.to(q.dtype), is_causal=True)
        return self.out(y.transpose(1, 2).flatten(2))  # (B, T, W)


class Block(nn.Module):
    def __init__(self, width: int, heads: int, kv_heads: int, dropout: float):
        super().__init__()
        self.attention = Attention(width, heads, kv_heads)
        self.widen = nn.Linear(width, 4 * width, bias=False)
        self.narrow = nn.Linear(4 * width, width, bias=False)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.attention.out.weight)
        nn.init.zeros_(self.narrow.weight)

    def feed_forward(self, x: Tensor) -> Tensor:
        return self.narrow(F.relu(self.widen(rms_norm(x))).square())

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.dropout(self.attention(rms_norm(x), cos, sin))
        return x + self.dropout(self.feed_forward(x))
