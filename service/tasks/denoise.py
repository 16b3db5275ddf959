"""Denoise: the clean image behind a noisy one."""

import math

import numpy as np

from contract import Capability
from service.engine.job import Job, RowCall
from service.errors import Invalid, ModelFailed
from service.model import LoadedModel

UNKNOWN_SIGMA = -1.0


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
    clean = outputs["x_hat"][:, :, :height, :width]
    if not np.isfinite(clean).all():
        raise ModelFailed(f"model {model.id} returned pixels that are no numbers for this image")
    return np.clip(clean, 0.0, 1.0)
