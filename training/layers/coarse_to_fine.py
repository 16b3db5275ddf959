"""Networks of the coarse-to-fine spline flow: x <-> z pixel by pixel, each pixel given those of coarser lattices.

    lattice of stride 4 (7×7)  ->  stride 2 (14×14)  ->  stride 1 (28×28),    each doubling in three couplings
    its own 49 pixels: a masked autoregressive coupling (MADE, Germain et al. 2015, arXiv 1502.03509) in 19 wavefronts

Grey levels are (B, 1, H, W) in [0, 256); K is the spline's number of bins.

The networks see whole grey levels, not where in a level a pixel lies: float32 inverts a spline to some thousandths of a
level, and an error that the next pixel's spline depends on grows from pixel to pixel, up to tenfold with each.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.layers.grey_spline import BINS, GreySpline, level_of

PHASES = (3, 1, 2)  # of each 2×2 cell: 0 is given, then the diagonal one, then the two between
FEATURES = 3
Elementwise = Callable[[Tensor, Tensor], Tensor]
BLACK = 0.8  # share of grey level 0 at the start of training
FLOOR = 0.01  # of the spline: 0.0002 bits a pixel of digits


def features(x: Tensor) -> Tensor:
    """Grey levels (B, N, ...) as network inputs (B, 3N, ...): overall, close to black, close to white."""
    x = level_of(x) + 0.5
    return torch.cat([x / 128 - 1, torch.tanh(x / 4 - 0.5), (x.clamp(min=250.0) - 253.5) / 1.5], dim=1)


def _start_at_marginal(bias: Tensor) -> None:
    marginal = torch.tensor([BLACK] + [(1 - BLACK) / (BINS - 1)] * (BINS - 1))
    nn.init.zeros_(bias).view(-1, BINS).add_(marginal.log() - marginal.log().mean())


class ResidualBlock(nn.Module):
    """h + W silu(conv(silu(h)))."""

    def __init__(self, width: int, kernel: int):
        super().__init__()
        self.conv = nn.Conv2d(width, width, kernel, padding=kernel // 2)
        self.out = nn.Conv2d(width, width, 1)
        self.out.weight.data.mul_(0.3)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.out(F.silu(self.conv(F.silu(h))))


class Doubling(nn.Module):
    """Three couplings that double a lattice's resolution: a trunk over phase 0, and a head for each other one."""

    def __init__(self, side: tuple[int, int], width: int, depth: int):
        super().__init__()
        self.place = nn.Parameter(torch.zeros(1, width, *side))
        self.stem = nn.Conv2d(FEATURES, width, 5, padding=2)
        self.trunk = nn.Sequential(*(ResidualBlock(width, 3) for _ in range(depth)))
        self.look = nn.ModuleList(nn.Conv2d(FEATURES * max(j, 1), width, 3, padding=1) for j in range(3))
        self.heads = nn.ModuleList(
            nn.Sequential(ResidualBlock(width, 1), nn.SiLU(), nn.Conv2d(width, BINS, 1)) for _ in range(3)
        )
        for head in self.heads:
            head[-1].weight.data.mul_(0.1)
            _start_at_marginal(head[-1].bias.data)

    def context(self, coarse: Tensor) -> Tensor:
        """Phase 0, grey levels (B, 1, h, w), as (B, width, h, w)."""
        return self.trunk(self.stem(features(coarse)) + self.place)

    def raw(self, step: int, context: Tensor, given: Tensor) -> Tensor:
        """Spline parameters (B, h, w, K) of the step's phase; given (B, max(step, 1), h, w)."""
        return self.heads[step](context + self.look[step](features(given))).permute(0, 2, 3, 1)


class MaskedLinear(nn.Linear):
    """A linear layer without the connections that a mask (out, in) forbids."""

    def __init__(self, mask: Tensor):
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask.float(), persistent=False)

    def forward(self, h: Tensor) -> Tensor:
        return F.linear(h, self.weight * self.mask, self.bias)

    def fused(self) -> nn.Linear:
        """The same layer with the mask in its weights, so that an unrolled graph holds them once."""
        linear = nn.Linear(self.in_features, self.out_features)
        linear.weight, linear.bias = nn.Parameter(self.weight.detach() * self.mask), self.bias
        return linear


class Wavefronts(nn.Module):
    """MADE over the coarsest lattice: row i, column j sees all of smaller 2i + j; equal ones go at once."""

    def __init__(self, side: tuple[int, int], width: int):
        super().__init__()
        height, breadth = side
        front = (torch.arange(breadth) + 2 * torch.arange(height)[:, None]).flatten()  # (D,)
        self.fronts = int(front.max()) + 1
        self.register_buffer("front", front, persistent=False)
        inputs, hidden = front.repeat(FEATURES), torch.arange(width) % max(self.fronts - 1, 1)
        self.first = MaskedLinear(hidden[:, None] >= inputs)
        self.second = MaskedLinear(hidden[:, None] >= hidden)
        self.out = MaskedLinear((front[:, None] > hidden).repeat_interleave(BINS, 0))
        self.out.weight.data.mul_(0.3)
        _start_at_marginal(self.out.bias.data)

    def raw(self, x: Tensor) -> Tensor:
        """Spline parameters (B, D, K) of grey levels x (B, D)."""
        h = self.first(features(x))
        h = h + self.second(F.silu(h))
        return self.out(F.silu(h)).unflatten(1, (-1, BINS))


class CoarseToFine(nn.Module):
    """The flow: grey levels in [0, 256) <-> z, both (B, 1, H, W) with H and W multiples of 2**len(widths)."""

    def __init__(self, side: tuple[int, int], widths: tuple[int, ...], depth: int, coarse_width: int):
        super().__init__()
        self.spline = GreySpline(FLOOR)
        self.doublings = nn.ModuleList()
        for width in widths:  # from fine to coarse
            side = (side[0] // 2, side[1] // 2)
            self.doublings.append(Doubling(side, width, depth))
        self.coarse = Wavefronts(side, coarse_width)
        self.to(memory_format=torch.channels_last)  # 1.15 times as fast on a CPU

    def fused(self) -> "CoarseToFine":
        """Itself, with what is constant computed once; for export."""
        self.spline.fused()
        for name, layer in list(self.coarse.named_children()):
            setattr(self.coarse, name, layer.fused())
        return self

    def log_prob_map(self, x: Tensor) -> Tensor:
        """log p of each pixel given those before it, (B, 1, H, W) in nats per grey level."""
        return self._fine_to_coarse(self.spline.log_prob, x)

    def forward(self, x: Tensor) -> Tensor:
        """x -> z."""
        return self._fine_to_coarse(self.spline, x)

    def inverse(self, z: Tensor) -> Tensor:
        """z -> x."""
        parts = []
        for _ in self.doublings:
            parts.append(F.pixel_unshuffle(z, 2))
            z = parts[-1][:, :1]
        x = torch.zeros_like(z).flatten(1)
        for front in range(self.coarse.fronts):
            x = torch.where(self.coarse.front == front, self.spline.inverse(z.flatten(1), self.coarse.raw(x)), x)
        x = x.view_as(z)
        for doubling, part in zip(reversed(self.doublings), reversed(parts), strict=True):
            context, known = doubling.context(x), x
            for step, phase in enumerate(PHASES):
                given = known[:, 1:] if step else known
                new = self.spline.inverse(part[:, phase], doubling.raw(step, context, given))
                known = torch.cat([known, new[:, None]], dim=1)
            x = F.pixel_shuffle(known[:, [0, *(1 + PHASES.index(phase) for phase in (1, 2, 3))]], 2)
        return x

    def _fine_to_coarse(self, function: Elementwise, x: Tensor, depth: int = 0) -> Tensor:
        if depth == len(self.doublings):
            return function(x.flatten(1), self.coarse.raw(x.flatten(1))).view_as(x)
        doubling, phases = self.doublings[depth], F.pixel_unshuffle(x, 2)  # (B, 4, h, w)
        context = doubling.context(phases[:, :1])
        raw = [doubling.raw(j, context, phases[:, list(PHASES[:j]) or [0]]) for j in range(3)]
        order = [PHASES.index(phase) for phase in (1, 2, 3)]
        new = function(phases[:, list(PHASES)], torch.stack(raw, dim=1))[:, order]  # (B, 3, h, w)
        old = self._fine_to_coarse(function, phases[:, :1], depth + 1)
        return F.pixel_shuffle(torch.cat([old, new], dim=1), 2)
