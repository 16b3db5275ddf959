"""Rows that are almost normal, made of normal ones: what a table's score is chosen by, where no anomaly may be looked at.

Each kind takes x (B, D), rows to spoil, and known rows (N, D), and gives (B, D). In a quarter of the columns the values of
other rows break how columns go together; one column off by two standard deviations is a sensor that drifts; half-way between
two rows lies what belongs to neither of their kinds.
"""

from collections.abc import Callable

import torch
from torch import Tensor

QUARTER = 0.25
OFF = 2.0
FARTHER = 1.5
NOISE = 0.5


def _from_others(x: Tensor, known: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Each value of some columns, one at least, from a row of its own."""
    rows = torch.randint(len(known), x.shape, generator=generator)
    order = torch.rand(x.shape, generator=generator).argsort(1)
    return torch.where(order < max(1, round(share * x.shape[1])), known.gather(0, rows), x)


def _one_column_off(x: Tensor, known: Tensor, generator: torch.Generator) -> Tensor:
    column = torch.randint(x.shape[1], (len(x), 1), generator=generator)
    sign = torch.randint(2, (len(x), 1), generator=generator) * 2 - 1
    return x + torch.zeros_like(x).scatter(1, column, OFF * sign * known.std(0)[column])


KINDS: dict[str, Callable[[Tensor, Tensor, torch.Generator], Tensor]] = {
    "one value of another row": lambda x, known, generator: _from_others(x, known, 0, generator),
    "a quarter of the values of other rows": lambda x, known, generator: _from_others(x, known, QUARTER, generator),
    "one column off": _one_column_off,
    "all columns noisy": lambda x, known, generator: (
        x + NOISE * known.std(0) * torch.randn(x.shape, generator=generator)
    ),
    "half-way to another row": lambda x, known, generator: (
        0.5 * (x + known[torch.randint(len(known), (len(x),), generator=generator)])
    ),
    "all columns farther out": lambda x, known, generator: known.mean(0) + FARTHER * (x - known.mean(0)),
}
