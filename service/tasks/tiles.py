"""Tiles: a graph of free sides run over an image of any size.

A large image is cut into tiles that overlap, so that memory is bounded and other requests get their turn between two
tiles; of each tile the part is kept that is at least a halo away from a cut. Sides that the graph cannot take are extended
by reflection and cropped afterwards.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np

from contract.manifest import Data
from service.engine.job import Job, RowCall

TILE = 512
HALO = 48


def over(images: np.ndarray, call: Callable[[np.ndarray], RowCall], output: str, data: Data, factor: int = 1) -> Job:
    """Call a graph with whole images (N, C, H, W) or, where the sides are free and long, with their tiles.

    Its `output` is images (N, C', factor H, factor W) for (N, C, H, W); so is what this returns.
    """
    height, width = images.shape[2:]
    multiple = data.side_multiple // math.gcd(data.side_multiple, factor)
    if None not in data.shape or max(height, width) <= TILE + 2 * HALO:
        out = (yield call(_padded(images, multiple)))[output]
        return out[:, :, : factor * height, : factor * width]
    whole: np.ndarray | None = None
    for rows, kept_rows in _along(height):
        for columns, kept_columns in _along(width):
            tile = (yield call(_padded(images[:, :, rows, columns], multiple)))[output]
            if whole is None:
                whole = np.empty((*tile.shape[:2], factor * height, factor * width), np.float32)
            inner = tile[:, :, _within(kept_rows, rows.start, factor), _within(kept_columns, columns.start, factor)]
            whole[:, :, _within(kept_rows, 0, factor), _within(kept_columns, 0, factor)] = inner
    return whole


def _padded(images: np.ndarray, multiple: int) -> np.ndarray:
    """Images whose sides are multiples, extended below and on the right."""
    height, width = images.shape[2:]
    below, right = -height % multiple, -width % multiple
    if not below and not right:
        return images
    sides = ((0, 0), (0, 0), (0, below), (0, right))
    return np.pad(images, sides, "reflect" if min(height, width) > max(below, right) else "edge")


def _within(kept: slice, start: int, factor: int) -> slice:
    return slice(factor * (kept.start - start), factor * (kept.stop - start))


def _along(length: int) -> Iterator[tuple[slice, slice]]:
    """Along one side: what to compute, and what to keep of it. The kept parts cover the side without overlap."""
    size = TILE + 2 * HALO
    if length <= size:
        yield slice(0, length), slice(0, length)
        return
    kept_until = 0
    while kept_until < length:
        # All tiles have one size, so that they can share a batch; the last one ends where the image does.
        start = min(max(0, kept_until - HALO), length - size)
        stop = start + size
        keep = length if stop == length else stop - HALO
        yield slice(start, stop), slice(kept_until, keep)
        kept_until = keep
