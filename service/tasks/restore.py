"""Restore: the whole image behind a degraded one, by one evaluation of a model that undoes that degradation."""

import math

import numpy as np

from contract import Capability
from contract.manifest import Data
from service.engine.job import Job, RowCall
from service.errors import Invalid, ModelFailed
from service.model import LoadedModel
from service.tasks import tiles

UNKNOWN_SIGMA = -1.0
_BLACK, _WHITE = np.zeros((), np.float32), np.ones((), np.float32)  # numbers would be converted each time


def degraded(model: LoadedModel) -> Data:
    """What a degraded image is: of downscale, smaller sides; of grey, one channel."""
    return model.manifest.data.model_copy(update={"shape": model.manifest.degraded_shape})


def check_sigma(model: LoadedModel, sigma: float | None, capability: Capability = Capability.RECONSTRUCT) -> None:
    """Refuse a noise level that the model's graph cannot use. Raises Invalid."""
    if sigma is None:
        return
    if not model.takes(capability, "sigma"):
        raise Invalid(f"sigma: model {model.id} takes no noise level: leave sigma out", field="sigma")
    low, high = model.manifest.sigma_range or (0.0, math.inf)
    if not low <= sigma <= high:
        raise Invalid(
            f"sigma: expected a standard deviation from {low:g} to {high:.4f} for images in [0, 1], found {sigma:g}",
            field="sigma",
        )


def restore(model: LoadedModel, images: np.ndarray, sigma: float | None = None) -> Job:
    """Undo the model's degradation. images (N, C', H', W'), not clipped. Returns (N, C, H, W) float32 in [0, 1]."""
    restoration = model.manifest.restoration
    factor = (restoration.factor or 1) if restoration and restoration.degradation == "downscale" else 1

    def call(x: np.ndarray) -> RowCall:
        inputs = {"x": x}
        if model.takes(Capability.RECONSTRUCT, "sigma"):
            inputs["sigma"] = np.array([UNKNOWN_SIGMA if sigma is None else sigma] * len(x), np.float32)
        return RowCall(Capability.RECONSTRUCT, inputs)

    clean = yield from tiles.over(images, call, "x_hat", model.manifest.data, factor)
    return finished(model, clean)


def finished(model: LoadedModel, images: np.ndarray) -> np.ndarray:
    """Clipped to [0, 1], in place. Raises ModelFailed for pixels that are no numbers."""
    if np.count_nonzero(np.isfinite(images)) < images.size:
        raise ModelFailed(f"model {model.id} returned pixels that are no numbers for this image")
    return images.clip(_BLACK, _WHITE, out=images)
