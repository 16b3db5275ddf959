"""Muon for matrices and for the kernels of convolutions, taken as matrices (out, in × height × width).

torch.optim.Muon takes two-dimensional parameters only. Momentum is made orthogonal by five steps of a Newton-Schulz
iteration (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon) and scaled by 0.2 √max(out, in), so that an
update has the size of one of AdamW and the two share learning rates (Liu et al. 2025, arXiv:2502.16982).
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from training.family import OptimizerConfig

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_STEPS = 5


def orthogonal(matrix: Tensor) -> Tensor:
    """The nearest matrix with singular values near 1, about 0.7 to 1.2: (R, C) -> (R, C).

    In float32, or in what autocast computes products in, which it would do anyway: the sums between them cost as much.
    """
    a, b, c = _COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    kind = x.device.type
    x = x.to(torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32)
    x = x / (x.norm() + 1e-7)
    for _ in range(_STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Parameters of two dimensions or more; decoupled weight decay; Nesterov momentum."""

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            lr, momentum = group["lr"], group["momentum"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(parameter)
                average = state["momentum"].lerp_(parameter.grad, 1 - momentum)
                update = parameter.grad.lerp(average, momentum).flatten(1)  # (out, in)
                scale = 0.2 * max(update.shape) ** 0.5
                parameter.mul_(1 - lr * group["weight_decay"])
                parameter.add_(orthogonal(update).view_as(parameter).to(parameter.dtype), alpha=-lr * scale)


def muon_and_adamw(parameters: Iterable[nn.Parameter], settings: OptimizerConfig) -> list[torch.optim.Optimizer]:
    """Muon for kernels and matrices, AdamW without decay for gains and biases, at one learning rate."""
    everything, rate = list(parameters), settings.learning_rate
    return [
        Muon([p for p in everything if p.ndim > 1], rate, weight_decay=settings.weight_decay),
        torch.optim.AdamW([p for p in everything if p.ndim == 1], rate, settings.betas, weight_decay=0.0),
    ]
