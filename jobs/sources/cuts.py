"""Ranges cut into pieces."""

from collections.abc import Iterator


def even(start: int, stop: int, most: int) -> Iterator[tuple[int, int]]:
    """Pieces of `most`, the last of what is left."""
    for first in range(start, stop, most):
        yield first, min(first + most, stop)
