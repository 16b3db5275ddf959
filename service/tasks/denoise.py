"""Denoise: the clean image behind a noisy one.

A large image is cut into tiles that overlap, so that memory is bounded and other requests get their turn between two
tiles; of each tile the part is kept that is at least a halo away from a cut.
"""

import math
from collections.abc import Iterator

import numpy as np

from contract import Capability
from service.engine.job import Job, RowCall
from service.errors import Invalid, ModelFailed
from service.model import LoadedModel

UNKNOWN_SIGMA = -1.0
TILE = 512
HALO = 48


def check_sigma(model: LoadedModel, sigma: float | None) -> None:
    """Refuse a noise level that the model cannot use. Raises Invalid."""
    if sigma is None:
        return
    if not model.takes(Capability.RECONSTRUCT, "sigma"):
        raise Invalid(f"sigma: model {model.id} estimates the noise itself: leave sigma out", field="sigma")
    low, high = model.manifest.sigma_range or (0.0, math.inf)
    if not low <= sigma <= high:
        raise Invalid(
            f"sigma: expected a standard deviation from {low:g} to {high:.4f} for images in [0, 1], found {sigma:g}",
            field="sigma",
        )


def work(images: np.ndarray) -> float:
    """Pixels."""
    return float(images.size)


def denoise(model: LoadedModel, images: np.ndarray, sigma: float | None) -> Job:
    """Remove noise. images (N, C, H, W), not clipped. Returns the same shape, float32 in [0, 1].

    Sides that the graph cannot take are extended by reflection and cropped afterwards.
    """
    height, width = images.shape[2:]
    free = None in model.manifest.data.shape
    if free and (height > TILE + 2 * HALO or width > TILE + 2 * HALO):
        clean = np.empty_like(images)
        for rows, kept_rows in _tiles(height):
            for columns, kept_columns in _tiles(width):
                tile = yield from _run(model, images[:, :, rows, columns], sigma)
                inner_rows = slice(kept_rows.start - rows.start, kept_rows.stop - rows.start)
                inner_columns = slice(kept_columns.start - columns.start, kept_columns.stop - columns.start)
                clean[:, :, kept_rows, kept_columns] = tile[:, :, inner_rows, inner_columns]
    else:
        clean = yield from _run(model, images, sigma)
    if not np.isfinite(clean).all():
        raise ModelFailed(f"model {model.id} returned pixels that are no numbers for this image")
    return np.clip(clean, 0.0, 1.0)


def _run(model: LoadedModel, images: np.ndarray, sigma: float | None) -> Job:
    height, width = images.shape[2:]
    multiple = model.manifest.data.side_multiple
    below, right = -height % multiple, -width % multiple
    if below or right:
        sides = ((0, 0), (0, 0), (0, below), (0, right))
        reflects = min(height, width) > max(below, right)
        images = np.pad(images, sides, "reflect") if reflects else np.pad(images, sides, "edge")
    inputs = {"x": images}
    if model.takes(Capability.RECONSTRUCT, "sigma"):
        inputs["sigma"] = np.full(len(images), UNKNOWN_SIGMA if sigma is None else sigma, np.float32)
    outputs = yield RowCall(Capability.RECONSTRUCT, inputs)
    return outputs["x_hat"][:, :, :height, :width]


def _tiles(length: int) -> Iterator[tuple[slice, slice]]:
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
