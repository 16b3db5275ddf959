"""Many rows at once, and the bad ones found out: what fails is tried again in smaller parts."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np

from jobs.engine import ROW_ERRORS, RowError

T = TypeVar("T")
Attempt = Callable[[np.ndarray], T]


def sieve(
    places: np.ndarray, attempt: Attempt[T], suspects: Callable[[np.ndarray], np.ndarray] | None = None
) -> Iterator[tuple[np.ndarray, T | RowError]]:
    """What `attempt` makes of rows, by their places (N,), in their order where none fails.

    Where it raises a row's error both halves are tried, down to the one row that is refused. `suspects` says which rows
    (N,) bool to try alone then: to find one in thousands takes a dozen attempts.
    """
    if not len(places):
        return
    try:
        yield places, attempt(places)
        return
    except ROW_ERRORS as error:
        if len(places) == 1:
            yield places, error
            return
    alone = suspects(places) if suspects is not None else np.zeros(len(places), bool)
    parts = [places[~alone], *places[alone][:, None]] if alone.any() else np.array_split(places, 2)
    for part in parts:
        yield from sieve(part, attempt)
