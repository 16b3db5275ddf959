"""Denoise: the clean image behind a noisy one, by one evaluation of a model that was made for it, or of a diffusion model's
D(x; sigma): the mean of all clean images that may lie behind the noisy one, which has the least squared error."""

from dataclasses import dataclass

import numpy as np

from contract import Capability
from service.engine.job import Job, RowCall
from service.model import LoadedModel
from service.samplers.noise_level import estimate_sigma
from service.tasks import diffuse, restore, tiles


@dataclass(frozen=True)
class Denoised:
    """images (N, C, H, W) float32 in [0, 1]; `sigma` (N,) the noise levels that the model was told, None where none."""

    images: np.ndarray
    sigma: np.ndarray | None = None
    estimated: bool = False


def check_sigma(model: LoadedModel, sigma: float | None) -> None:
    """Refuse a noise level that the model cannot use. Raises Invalid."""
    capability = model.serving("denoise")
    assert capability is not None, "the catalog gives models that can"
    restore.check_sigma(model, sigma, capability)


def denoise(model: LoadedModel, images: np.ndarray, sigma: float | None) -> Job:
    """Remove noise. images (N, C, H, W), not clipped. Returns Denoised."""
    if model.serving("denoise") is Capability.RECONSTRUCT:
        return Denoised((yield from restore.restore(model, images, sigma)))
    assert model.manifest.sigma_range is not None, "the contract asks for it"
    told = np.full(len(images), sigma) if sigma is not None else estimate_sigma(images)
    levels = told.clip(*model.manifest.sigma_range)  # (N,)

    def call(x: np.ndarray) -> RowCall:
        return diffuse.call(model, x, levels, None)

    clean = yield from tiles.over(images, call, "x0", model.manifest.data)
    return Denoised(restore.finished(model, clean), levels, estimated=sigma is None)
