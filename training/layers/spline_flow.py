"""A chain of invertible maps of rows x (B, D) -> z (B, D), each with the logarithm of its Jacobian's determinant.

columns     (x - centre) / scale of each column, and for heavy tails its arcsinh; taken from the training set
mixing      a fixed permutation of the columns, and on request x @ L U after it (as in Glow, Kingma and Dhariwal 2018)
coupling    half of the columns pass; of them a network makes the knots of a monotone spline for each other column
            (Durkan et al. 2019, Neural Spline Flows, arXiv 1906.04032)

The networks are float32, what they act on is float64: where a bin is a hundredth wide, float32 has five digits left for a
place in it, and log p of six layers is off by 2e-4 nats.
"""

import copy
import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.layers import rational_quadratic

Tails = Literal["normal", "heavy"]
ALIGNMENT = 16  # logarithms are taken of rows of so many: a processor's vector holds one row, in batches of any size


def aligned(x: Tensor) -> Tensor:
    """Rows (B, N) with ones after them, as many numbers as fill whole vectors, for a logarithm to be taken of."""
    return F.pad(x, (0, -x.shape[1] % ALIGNMENT), value=1.0)


class Columns(nn.Module):
    """Each column standardised, or arcsinh of it, standardised again."""

    def __init__(self, columns: int, tails: Tails):
        super().__init__()
        self.tails = tails
        for name in ("centre", "shift"):
            self.register_buffer(name, torch.zeros(columns))
        for name in ("scale", "stretch"):
            self.register_buffer(name, torch.ones(columns))

    def take(self, x: Tensor, cell: Tensor) -> None:
        """From rows (N, D); of heavy tails the median and quartiles, which no outlier moves."""
        if self.tails == "normal":
            centre, scale = x.mean(0), x.std(0)
        else:
            low, centre, high = x.quantile(torch.tensor([0.25, 0.5, 0.75]), dim=0)
            scale = (high - low) / 1.35  # a normal column's standard deviation
        self.centre.copy_(centre)
        self.scale.copy_(torch.where(scale > cell, scale, torch.where(cell > 0, cell, 1.0)))
        if self.tails == "heavy":
            t = torch.asinh((x - self.centre) / self.scale)
            self.shift.copy_(t.mean(0))
            deviation = t.std(0)
            self.stretch.copy_(torch.where(deviation > 0, deviation, 1.0))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        t = (x - self.centre) / self.scale
        if self.tails == "normal":
            return t, torch.ones_like(t[:, :0])
        root = (1 + t * t).sqrt()
        return (torch.asinh(t) - self.shift) / self.stretch, 1 / root

    def inverse(self, y: Tensor) -> Tensor:
        t = y if self.tails == "normal" else torch.sinh(y * self.stretch + self.shift)
        return t * self.scale + self.centre

    def log_abs_det(self) -> Tensor:
        return -(self.scale.log().sum() + self.stretch.log().sum())


class Mixing(nn.Module):
    """A permutation drawn once, and x @ L U after it where it is `linear`: L U begins as the identity."""

    def __init__(self, columns: int, linear: bool, seed: int):
        super().__init__()
        order = torch.randperm(columns, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("order", order)
        self.register_buffer("back", order.argsort())
        self.linear = linear
        if linear:
            self.lower, self.upper = (nn.Parameter(torch.zeros(columns, columns)) for _ in range(2))
            self.log_diagonal = nn.Parameter(torch.zeros(columns))
        self.fixed: tuple[Tensor, Tensor] | None = None

    def matrices(self) -> tuple[Tensor, Tensor]:
        """L U and its inverse, float64."""
        if self.fixed is not None:
            return self.fixed
        one = torch.eye(len(self.order), dtype=torch.float64, device=self.lower.device)
        lower = one + self.lower.double().tril(-1)
        matrix = lower @ (self.upper.double().triu(1) + torch.diag(self.log_diagonal.double().exp()))
        return matrix, torch.linalg.inv(matrix)

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, self.order]
        return x @ self.matrices()[0] if self.linear else x

    def inverse(self, y: Tensor) -> Tensor:
        y = y @ self.matrices()[1] if self.linear else y
        return y[:, self.back]

    def log_abs_det(self) -> Tensor | float:
        return self.log_diagonal.sum() if self.linear else 0.0


class Residual(nn.Module):
    """h + W2 relu(W1 relu(h)), started as the identity."""

    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.second.weight)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.second(self.dropout(F.relu(self.first(F.relu(h)))))


class Coupling(nn.Module):
    """The first D // 2 columns pass; the others go through splines that those decide on."""

    def __init__(self, columns: int, bins: int, bound: float, width: int, depth: int, dropout: float):
        super().__init__()
        self.given, self.bins, self.bound = columns // 2, bins, bound
        outputs = (columns - self.given) * rational_quadratic.outputs(bins)
        blocks = (Residual(width, dropout) for _ in range(depth))
        self.network = nn.Sequential(nn.Linear(self.given, width), *blocks, nn.ReLU(), nn.Linear(width, outputs))
        nn.init.zeros_(self.network[-1].weight)
        nn.init.zeros_(self.network[-1].bias)

    def _knots(self, given: Tensor) -> rational_quadratic.Knots:
        raw = (
            self.network(given.to(self.network[0].weight.dtype))
            .double()
            .unflatten(1, (-1, rational_quadratic.outputs(self.bins)))
        )  # (B, D - D // 2, 3K - 1)
        return rational_quadratic.knots(raw, self.bins, self.bound)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        given, rest = x[:, : self.given], x[:, self.given :]
        rest, slope = rational_quadratic.forward(rest, self._knots(given))
        return torch.cat([given, rest], dim=1), slope

    def inverse(self, y: Tensor) -> Tensor:
        given, rest = y[:, : self.given], y[:, self.given :]
        return torch.cat([given, rational_quadratic.inverse(rest, self._knots(given))], dim=1)


class SplineFlow(nn.Module):
    """Columns, and `layers` times mixing and coupling; `coupling` are the couplings' own arguments."""

    def __init__(self, columns: int, layers: int, tails: Tails, linear: bool, **coupling: Any):
        super().__init__()
        self.columns = Columns(columns, tails)
        self.mixings = nn.ModuleList(Mixing(columns, linear, i) for i in range(layers))
        self.couplings = nn.ModuleList(Coupling(columns, **coupling) for _ in range(layers))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z (B, D), and log |det dz/dx| (B,) in nats, both float64. One sum of all log-slopes, a matrix product: it rounds alike in
        any batch."""
        z, slope = self.columns(x)
        z, slopes = z.double(), [slope.double()]
        for mixing, coupling in zip(self.mixings, self.couplings, strict=True):
            z, slope = coupling(mixing(z))
            slopes.append(slope)
        all_slopes = aligned(torch.cat(slopes, dim=1))
        log_slopes = all_slopes.log() @ z.new_ones(all_slopes.shape[1], 1)
        constant = self.columns.log_abs_det().double() + sum(m.log_abs_det() for m in self.mixings)
        return z, log_slopes.squeeze(1) + constant

    def inverse(self, z: Tensor) -> Tensor:
        y = z.double()
        for mixing, coupling in zip(reversed(self.mixings), reversed(self.couplings), strict=True):
            y = mixing.inverse(coupling.inverse(y))
        return self.columns.inverse(y.to(z.dtype))

    def embedding(self, x: Tensor) -> Tensor:
        return self(x)[0].to(x.dtype)

    def log_prob(self, x: Tensor) -> Tensor:
        z, log_abs_det = self(x)
        normal = -0.5 * (z * z @ z.new_ones(z.shape[1], 1)).squeeze(1) - 0.5 * z.shape[1] * math.log(2 * math.pi)
        return (normal + log_abs_det).to(x.dtype)

    def fused(self) -> "SplineFlow":
        """A copy whose matrices are worked out once; for export, where nothing inverts a matrix."""
        flow = copy.deepcopy(self)
        for mixing in (m for m in flow.mixings if m.linear):
            mixing.fixed = tuple(matrix.detach() for matrix in mixing.matrices())
        return flow
