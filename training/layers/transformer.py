"""The transformer's layers: rotary positions, query-key norm, shared key/value heads, squared ReLU.

Shapes: tokens are (B, T, W); queries (B, T, H, E); keys and values (B, T, H_kv, E); W = H E.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.family import OptimizerConfig

UNSEEN = 1000.0  # that a hidden token's key takes off a query's score, before the division by the root of E


def rms_norm(x: Tensor) -> Tensor:
    """x / sqrt(mean(x^2)) over the last axis, without gain."""
    # Without one the exporter makes a gain of x's whole shape: slower, and the last bits depend on the number of rows.
    gain = x.new_ones(x.shape[-1]) if torch.compiler.is_exporting() else None
    return F.rms_norm(x, (x.shape[-1],), gain, eps=1e-6)


def rotary_tables(positions: int, size: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines, (positions, size / 2) each."""
    frequencies = 10_000.0 ** (-torch.arange(0, size, 2) / size)
    angles = torch.arange(positions)[:, None] * frequencies
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate halves of the last axis against each other: (B, H, T, E) by (T, E / 2) or (B, 1, T, E / 2)."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


def attention_by_rows(q: Tensor, k: Tensor, v: Tensor, rows: int = 96) -> Tensor:
    """Causal attention, so many rows of its matrix at a time: (B, H, T, E) and (B, H_kv, T, E) twice to (B, H, T, E).

    On a CPU it is faster than torch's attention, forth and back at T = 350 and E = 32 three times in bfloat16, and a
    graph of it needs less memory than the whole matrix.
    """
    shared, size = q.shape[1] // k.shape[1], q.shape[-1]
    q = q.unflatten(1, (-1, shared)) * size**-0.5  # (B, H_kv, H / H_kv, T, E)
    parts = []
    with torch.autocast(q.device.type, enabled=False):
        for first in range(0, q.shape[3], rows):
            part = q[:, :, :, first : first + rows]
            last = first + part.shape[3]
            scores = (part.flatten(2, 3) @ k[:, :, :last].mT).unflatten(2, part.shape[2:4])  # (B, H_kv, …, rows, last)
            later = torch.full((last - first, last), -torch.inf, dtype=q.dtype, device=q.device).triu(first + 1)
            weights = scores.add_(later).softmax(-1)
            parts.append((weights.flatten(2, 3) @ v[:, :, :last]).unflatten(2, part.shape[2:4]))
    return torch.cat(parts, dim=3).flatten(1, 2)


def _noted(x: Tensor, pair: Tensor) -> Tensor:
    """(B, T, H, E) with the last dimension of each half replaced by one of the pair, (B, T, H, 2)."""
    a, b = x.chunk(2, dim=-1)
    pair = pair.to(x.dtype)
    return torch.cat([a[..., :-1], pair[..., :1], b[..., :-1], pair[..., 1:]], dim=-1)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, kv_heads: int):
        super().__init__()
        self.heads, self.kv_heads, self.size = heads, kv_heads, width // heads
        self.qkv = nn.Linear(width, (heads + 2 * kv_heads) * self.size, bias=False)
        self.gain = nn.Parameter(torch.ones(heads, 1))
        self.out = nn.Linear(width, width, bias=False)

    def project(self, x: Tensor, note: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Normed queries and keys side by side (B, T, H + H_kv, E), none of them rotated, and values (B, T, H_kv, E).

        A note (B, T, 2) holds a scalar of each token, which its keys carry, and 1 where they are hidden from all
        queries. It takes the last dimension of each half, which the rotary tables must leave as they are.
        """
        qkv = self.qkv(x).unflatten(-1, (self.heads + 2 * self.kv_heads, self.size))
        qk, v = qkv.split([self.heads + self.kv_heads, self.kv_heads], dim=-2)
        qk = rms_norm(qk) * torch.cat([self.gain, self.gain.new_ones(self.kv_heads, 1)])
        if note is not None:
            of_queries = note.new_tensor([0.0, 1.0]).expand(*x.shape[:2], self.heads, 2)
            of_keys = (note * note.new_tensor([1.0, -UNSEEN]))[:, :, None].expand(-1, -1, self.kv_heads, -1)
            qk = _noted(qk, torch.cat([of_queries, of_keys], dim=2))
        return qk, v

    def rotated(self, x: Tensor, cos: Tensor, sin: Tensor, note: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Normed and rotated queries (B, H, T, E), normed and rotated keys and plain values (B, H_kv, T, E)."""
        qk, v = (t.transpose(1, 2) for t in self.project(x, note))
        q, k = rotate(qk, cos, sin).to(v.dtype).split([self.heads, self.kv_heads], dim=1)
        return q, k, v

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, note: Tensor | None = None) -> Tensor:
        q, k, v = self.rotated(x, cos, sin, note)
        if q.device.type == "cpu" and isinstance(q.shape[2], int):  # not where a graph leaves T free
            y = attention_by_rows(q, k, v)
        else:
            shared = self.heads // self.kv_heads
            k, v = k.repeat_interleave(shared, dim=1), v.repeat_interleave(shared, dim=1)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
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
        h = F.relu(self.widen(rms_norm(x)))
        return self.narrow(h * h)  # a square is exported as a power, which costs more

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, note: Tensor | None = None) -> Tensor:
        x = x + self.dropout(self.attention(rms_norm(x), cos, sin, note))
        return x + self.dropout(self.feed_forward(x))


def optimizers(
    blocks: nn.ModuleList, parameters: Iterable[nn.Parameter], settings: OptimizerConfig
) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' matrices, AdamW for the other parameters."""
    matrices = [p for p in blocks.parameters() if p.ndim == 2 and min(p.shape) > 1]
    chosen = {id(p) for p in matrices}
    rest = [p for p in parameters if id(p) not in chosen]
    return [
        torch.optim.Muon(
            matrices,
            lr=settings.muon_learning_rate,
            weight_decay=settings.muon_weight_decay,
            momentum=0.95,
            adjust_lr_fn="original",
        ),
        torch.optim.AdamW(rest, lr=settings.learning_rate, betas=settings.betas, weight_decay=settings.weight_decay),
    ]
