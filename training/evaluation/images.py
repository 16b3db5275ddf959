"""How well noise is removed from photographs, and from digits: PSNR, and SSIM beside it."""

from pathlib import Path

import numpy as np
import torch
from torchmetrics.image import StructuralSimilarityIndexMeasure

from contract import Capability
from contract.manifest import Measurement
from training.data.images import image_list, images
from training.evaluate import ExportedModel, metric

NOISE_LEVELS = (15, 25, 50)  # of 255, the levels that papers report
DIGIT_NOISE_LEVELS = (0.3, 0.5, 0.7)  # of 1
BATCH_SIZE = 100


def psnr(estimate: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB, of images in [0, 1]; the estimate is clipped."""
    error = np.clip(estimate, 0, 1).astype(np.float64) - truth
    return float(-10 * np.log10(np.mean(np.square(error))))


def ssim(estimates: np.ndarray, truth: np.ndarray) -> float:
    """The mean structural similarity of images (N, 1, H, W) in [0, 1] (Wang et al. 2004, windows of 11×11); the estimates are
    clipped."""
    found = StructuralSimilarityIndexMeasure(data_range=1.0)
    for first in range(0, len(truth), BATCH_SIZE):
        some = slice(first, first + BATCH_SIZE)
        found.update(torch.from_numpy(estimates[some].clip(0, 1)), torch.from_numpy(truth[some]))
    return float(found.compute())


@metric
def psnr_set12(model: ExportedModel, data_root: Path | None, seed: int) -> list[Measurement]:
    """The mean over Set12 of each image's PSNR, blind and told the level, and of its SSIM; noise is seeded and never clipped."""
    session = model.session(Capability.RECONSTRUCT)
    photographs = image_list("set12", data_root)
    figures, similarities = [], []
    for told in (False, True):
        for level in NOISE_LEVELS:
            sigma = level / 255
            given = np.array([sigma if told else -1.0], np.float32)
            ratios, likeness = [], []
            for number, photograph in enumerate(photographs):
                truth = photograph.astype(np.float32) / 255
                noise = np.random.default_rng([seed, level, number]).standard_normal(truth.shape, np.float32)
                noisy = (truth + sigma * noise)[None, None]  # (1, 1, H, W)
                (x_hat,) = session.run(["x_hat"], {"x": noisy, "sigma": given})
                ratios.append(psnr(x_hat[0, 0], truth))
                likeness.append(ssim(x_hat, truth[None, None]))
            where = f"at sigma {level}/255, {'level given' if told else 'blind'}"
            rest = {"data": "Set12, grey", "size": len(photographs), "seed": seed}
            figures.append(Measurement(metric=f"PSNR {where}", value=float(np.mean(ratios)), unit="dB", **rest))
            similarities.append(Measurement(metric=f"SSIM {where}", value=float(np.mean(likeness)), **rest))
    return figures + similarities


@metric
def mnist_denoising(model: ExportedModel, data_root: Path | None, seed: int) -> list[Measurement]:
    """PSNR and SSIM of MNIST's test digits from noise that is not clipped, told the level and no class; estimates are clipped.

    The anchor is the best linear estimate, Wiener's filter in the principal components of the training set.
    """
    truth = images("mnist", "test", data_root)[0].numpy().astype(np.float32) / 255
    train = images("mnist", "train", data_root)[0].flatten(1).numpy().astype(np.float64) / 255
    mean, covariance = train.mean(0), np.cov(train, rowvar=False)
    figures, similarities = [], []
    for sigma in DIGIT_NOISE_LEVELS:
        noise = np.random.default_rng([seed, round(1000 * sigma)]).standard_normal(truth.shape, np.float32)
        noisy = truth + np.float32(sigma) * noise
        inputs = {"x_t": noisy, "sigma": np.full(len(noisy), sigma, np.float32)}
        if any(tensor.name == "label" for tensor in model.manifest.capabilities[Capability.DENOISE_STEP].inputs):
            inputs["label"] = np.full(len(noisy), len(model.manifest.data.class_names))
        x0 = model.run(Capability.DENOISE_STEP, inputs, "x0")
        linear = wiener(noisy.reshape(len(noisy), -1), sigma, mean, covariance).reshape(truth.shape)
        note = "noise not clipped, level told, no class; Wiener filter"
        ratio, likeness = f"{note} {psnr(linear, truth):.2f} dB", f"{note} {ssim(linear.astype(np.float32), truth):.4f}"
        rest = {"data": "MNIST test", "size": len(truth), "seed": seed}
        where = f"at sigma {sigma}"
        figures.append(Measurement(metric=f"PSNR {where}", value=psnr(x0, truth), unit="dB", note=ratio, **rest))
        similarities.append(Measurement(metric=f"SSIM {where}", value=ssim(x0, truth), note=likeness, **rest))
    return figures + similarities


def wiener(noisy: np.ndarray, sigma: float, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """The linear estimate of least mean squared error: noisy (N, D) = x + sigma n, x of mean (D,) and covariance (D, D)."""
    variances, directions = np.linalg.eigh(covariance)  # (D,), (D, D)
    gains = variances.clip(0) / (variances.clip(0) + sigma**2)
    return mean + ((noisy - mean) @ directions * gains) @ directions.T
