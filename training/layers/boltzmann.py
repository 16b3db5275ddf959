"""Binary units that act on each other across two layers: energies, draws, and the partition function.

v (B, V) visible and h (B, H) hidden, both in {0, 1}; with weights W (V, H) and biases b (V,), c (H,):

    E(v, h) = -b·v - c·h - v W h                F(v) = -log sum_h exp(-E(v, h)) = -b·v - sum_j softplus(c_j + (v W)_j)
    p(v) = exp(-F(v)) / Z                       log Z by annealed importance sampling (Salakhutdinov and Murray 2008)
"""

import math
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

GRID = 2.0**-12  # rounded weights are multiples of it: sums over binary units are exact in float32, in any order


class Machine(NamedTuple):
    """W (V, H), b (V,), c (H,)."""

    weight: Tensor
    b: Tensor
    c: Tensor

    def hidden_logits(self, v: Tensor) -> Tensor:
        return v @ self.weight + self.c  # (B, H)

    def visible_logits(self, h: Tensor) -> Tensor:
        return h @ self.weight.T + self.b  # (B, V)

    def free_energy(self, v: Tensor) -> Tensor:
        """(B,). Its sums are matrix products, which round alike in any batch."""
        softplus = F.softplus(self.hidden_logits(v)) @ torch.ones_like(self.c)[:, None]
        return -(v @ self.b[:, None] + softplus).squeeze(1)

    def rounded(self) -> "Machine":
        return Machine(*((t.detach() / GRID).round() * GRID for t in self))


def drawn(p: Tensor, generator: torch.Generator) -> Tensor:
    """Binary units that are 1 with probability p; three times as fast as torch.bernoulli."""
    return (torch.rand(p.shape, generator=generator, device=p.device) < p).float()


@torch.no_grad()
def annealed_importance(
    machine: Machine, base: Tensor, chains: int, steps: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Log importance weights (chains,), float64, whose mean in the linear domain is Z, and the chains' ends (chains, V).

    From beta = 0, independent units of log-odds `base` (V,), to beta = 1, the machine. Temperatures lie closer towards 1.
    """
    v = drawn(base.sigmoid().expand(chains, -1), generator)
    log_weight = base.double().exp().log1p().sum() + len(machine.c) * math.log(2) + v.new_zeros(chains).double()
    for before, beta in pairwise((1 - (1 - torch.linspace(0, 1, steps + 1)) ** 2).tolist()):
        a = machine.hidden_logits(v)
        log_weight += (beta - before) * (v @ (machine.b - base)).double()
        log_weight += (F.softplus(beta * a) - F.softplus(before * a)).double().sum(1)
        h = drawn((beta * a).sigmoid(), generator)
        v = drawn(base.lerp(machine.visible_logits(h), beta).sigmoid(), generator)
    return log_weight, v
