"""How far a row is from itself in other batches: every row in a batch of each size, against the same row in the largest.

What runs them is the caller's, `run(numbers)`: the outputs of the rows of these numbers, as one batch in that order.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from contract.manifest import Agreement
from service.engine.limits import Limits
from service.engine.sizes import BUCKETS

TOLERANCE = 1e-4
FEW = 2
"""Sizes up to this one are compared however large a row is: one size alone agrees with itself."""
SLOW = 1.0
FAR = 1e30
"""Of what cannot be said as a number."""
_OTHER_BITS = float(np.finfo(np.float64).tiny)

Run = Callable[[np.ndarray], Mapping[str, np.ndarray]]


def served(elements: int, seconds: Callable[[int], float]) -> tuple[int, ...]:
    """The batch sizes that a server may give a graph, ascending, by the input values of a row: within its bounds on a batch.

    It has more rows at once than these bounds say only where they are done within milliseconds, or where it is told so; such
    sizes are left out where the usual most rows take longer than a second. `seconds` says how long so many take.
    """
    bounds = Limits()
    sizes = tuple(size for size in BUCKETS if size <= FEW or size * elements <= bounds.elements)
    if sizes[-1] <= bounds.rows or seconds(bounds.rows) < SLOW:
        return sizes
    return tuple(size for size in sizes if size <= bounds.rows)


def differences(run: Run, sizes: Sequence[int]) -> dict[int, float]:
    """The largest absolute difference by ascending batch size; 0 means the same bits.

    In batches of the largest size there is none but that of places: its rows are turned round.
    """
    worst = by_output(run, sizes)
    return {size: max(apart[size] for apart in worst.values()) for size in sizes}


def by_output(run: Run, sizes: Sequence[int]) -> dict[str, dict[int, float]]:
    """The same by output."""
    most = sizes[-1]
    numbers = np.arange(most)
    whole = run(numbers)
    worst = {name: dict.fromkeys(sizes, 0.0) for name in whole}
    for size in sizes:
        firsts = (*range(0, most - size, size), most - size)
        for batch in [numbers[::-1]] if size == most else [numbers[first : first + size] for first in firsts]:
            found = run(batch)
            for name, outputs in whole.items():
                worst[name][size] = max(worst[name][size], difference(found[name], outputs[batch]))
    return worst


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """The largest absolute difference where the bits are not the same; more than 0 where they are not."""
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    other = a.view(f"u{a.itemsize}") != b.view(f"u{b.itemsize}")
    if not other.any():
        return 0.0
    apart = np.abs(a[other].astype(np.float64) - b[other].astype(np.float64)).max()
    return max(float(apart), _OTHER_BITS) if np.isfinite(apart) else FAR


def agreement(worst: Mapping[int, float]) -> Agreement:
    """What a manifest says of these differences. A matrix product of one row takes another path through the kernels: where
    that alone makes a difference, size 1 is left out, and a server runs no row alone."""
    together = [size for size in worst if size > 1]
    alone = worst.get(1, 0.0) > 0 and together and not any(worst[size] for size in together)
    sizes = tuple(together) if alone else tuple(worst)
    return Agreement(max_abs_diff=max(worst[size] for size in sizes), tolerance=TOLERANCE, batch_sizes=sizes)
