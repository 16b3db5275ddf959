"""How near a reconstruction of MNIST's test digits comes to them: of whole ones, or of ones that were spoilt first."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA
from torch import Tensor
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

from contract import Capability
from contract.manifest import Measurement, Restoration
from training.data.images import images
from training.data.source import keyed
from training.degradation import degraded
from training.evaluate import EvaluationError, ExportedModel, metric

BATCH_SIZE = 100
TEST = "MNIST test"


@metric
def psnr_ssim_mnist(model: ExportedModel, data_root: Path | None, seed: int) -> list[Measurement]:
    """PSNR, of the mean squared error over all images, and the mean SSIM (Wang et al. 2004, windows of 11×11).

    Beside them in the note is what needs no network: bicubic enlargement, holes filled with black, the noisy image.
    """
    restoration = model.manifest.restoration
    x = _digits(model, data_root)
    given = _given(model, x, seed)
    found, baseline = _quality(_x_hat(model, given), x), None
    note = "of whole digits"
    if restoration is not None:
        name, without = _without_network(given["x"], restoration, x)
        baseline = _quality(without, x)
        note = f"degradation {restoration.degradation}; {name}: "
    return [
        Measurement(
            metric=metric_name,
            value=value,
            unit=unit,
            data=TEST,
            size=len(x),
            seed=seed,
            note=note if baseline is None else f"{note}{baseline[i]:.4g}{' ' * bool(unit)}{unit}",
        )
        for i, (metric_name, value, unit) in enumerate(zip(("PSNR", "SSIM"), found, ("dB", ""), strict=True))
    ]


@metric
def reconstruction_error(model: ExportedModel, data_root: Path | None, seed: int) -> list[Measurement]:
    """The mean squared error of a pixel in [0, 1], beside that of as many principal components as the code has."""
    if model.manifest.restoration is not None:
        raise EvaluationError(f"{model.manifest.name}: restores; measure it by psnr_ssim_mnist")
    x = _digits(model, data_root)
    note = ""
    if model.manifest.latent is not None:
        size = model.manifest.latent.size
        train = images("mnist", "train", data_root)[0].flatten(1).numpy() / np.float32(255)
        pca = PCA(size, svd_solver="covariance_eigh").fit(train)
        flat = x.flatten(1).numpy()
        error = float(np.square(pca.inverse_transform(pca.transform(flat)) - flat).mean())
        note = f"{size} principal components: {error:.4g}"
    value = float((_x_hat(model, {"x": x}) - x).square().mean())
    return [Measurement(metric="reconstruction error", value=value, data=TEST, size=len(x), note=note)]


def _digits(model: ExportedModel, data_root: Path | None) -> Tensor:
    """x in [0, 1], as many channels as the model takes: (N, C, 28, 28)."""
    pixels = images("mnist", "test", data_root)[0]
    channels = model.manifest.data.shape[0]
    if model.manifest.data.kind != "image" or channels not in (1, 3):
        raise EvaluationError(f"{model.manifest.name}: expected a model of digits, found one of {model.manifest.data}")
    return torch.cat([pixels.roll(i, 0) for i in range(channels)], dim=1).float() / 255


def _given(model: ExportedModel, x: Tensor, seed: int) -> dict[str, Tensor]:
    """The inputs of `reconstruct`; a noise level is withheld."""
    restoration = model.manifest.restoration
    if restoration is None:
        return {"x": x}
    given = degraded(x, restoration, model.manifest.sigma_range, keyed(seed))
    return given | ({"sigma": -torch.ones(len(x))} if "sigma" in given else {})


def _x_hat(model: ExportedModel, given: dict[str, Tensor]) -> Tensor:
    session, size = model.session(Capability.RECONSTRUCT), len(given["x"])
    parts = [
        session.run(["x_hat"], {name: t[first : first + BATCH_SIZE].numpy() for name, t in given.items()})[0]
        for first in range(0, size, BATCH_SIZE)
    ]
    return torch.from_numpy(np.concatenate(parts))


def _without_network(given: Tensor, restoration: Restoration, x: Tensor) -> tuple[str, Tensor]:
    """What the note compares with, and its name; in [0, 1], of x's shape."""
    if restoration.degradation == "mask":
        return "holes filled with black", torch.where(given == restoration.fill, 0.0, given)
    if restoration.degradation == "downscale":
        return "bicubic", F.interpolate(given, x.shape[2:], mode="bicubic").clamp(0, 1)
    name = "the noisy image, clipped" if restoration.degradation == "noise" else "the grey image"
    return name, given.clamp(0, 1).expand_as(x)


def _quality(x_hat: Tensor, x: Tensor) -> tuple[float, float]:
    """PSNR in dB and SSIM."""
    psnr, ssim = PeakSignalNoiseRatio(data_range=1.0), StructuralSimilarityIndexMeasure(data_range=1.0)
    for estimate, truth in zip(x_hat.split(BATCH_SIZE), x.split(BATCH_SIZE), strict=True):
        psnr.update(estimate, truth)
        ssim.update(estimate, truth)
    return float(psnr.compute()), float(ssim.compute())
