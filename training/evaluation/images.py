"""How well noise is removed from photographs, and from digits."""

from pathlib import Path

import numpy as np

from contract import Capability
from contract.manifest import Measurement
from training.data.images import image_list, images
from training.evaluate import ExportedModel, metric

NOISE_LEVELS = (15, 25, 50)  # of 255, the levels that papers report
DIGIT_NOISE_LEVELS = (0.3, 0.5, 0.7)  # of 1


def psnr(estimate: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB, of images in [0, 1]; the estimate is clipped."""
    error = np.clip(estimate, 0, 1).astype(np.float64) - truth
    return float(-10 * np.log10(np.mean(np.square(error))))


@metric
def psnr_set12(model: ExportedModel, data_root: Path | None, seed: int) -> list[Measurement]:
    """The mean over Set12 of each image's PSNR, blind and told the level; noise is seeded and never clipped."""
    session = model.session(Capability.RECONSTRUCT)
    photographs = image_list("set12", data_root)
    figures = []
    for told in (False, True):
        for level in NOISE_LEVELS:
            sigma = level / 255
            given = np.array([sigma if told else -1.0], np.float32)
            ratios = []
            for number, photograph in enumerate(photographs):
                truth = photograph.astype(np.float32) / 255
                noise = np.random.default_rng([seed, level, number]).standard_normal(truth.shape, np.float32)
                noisy = (truth + sigma * noise)[None, None]  # (1, 1, H, W)
                (x_hat,) = session.run(["x_hat"], {"x": noisy, "sigma": given})
                ratios.append(psnr(x_hat[0, 0], truth))
            figures.append(
                Measurement(
                    metric=f"PSNR at sigma {level}/255, {'level given' if told else 'blind'}",
                    value=float(np.mean(ratios)),
                    unit="dB",
                    data="Set12, grey",
                    size=len(ratios),
                    seed=seed,
                )
            )
    return figures


@metric
def mnist_denoising(model: ExportedModel, data_root: Path | None, seed: int) -> list[Measurement]:
    """PSNR of MNIST's test digits from noise that is not clipped, told the level and no class; estimates are clipped.

    The anchor is the best linear estimate, Wiener's filter in the principal components of the training set.
    """
    truth = images("mnist", "test", data_root)[0].numpy().astype(np.float32) / 255
    train = images("mnist", "train", data_root)[0].flatten(1).numpy().astype(np.float64) / 255
    mean, covariance = train.mean(0), np.cov(train, rowvar=False)
    figures = []
    for sigma in DIGIT_NOISE_LEVELS:
        noise = np.random.default_rng([seed, round(1000 * sigma)]).standard_normal(truth.shape, np.float32)
        noisy = truth + np.float32(sigma) * noise
        inputs = {"x_t": noisy, "sigma": np.full(len(noisy), sigma, np.float32)}
        if any(tensor.name == "label" for tensor in model.manifest.capabilities[Capability.DENOISE_STEP].inputs):
            inputs["label"] = np.full(len(noisy), len(model.manifest.data.class_names))
        linear = wiener(noisy.reshape(len(noisy), -1), sigma, mean, covariance).reshape(truth.shape)
        figures.append(
            Measurement(
                metric=f"PSNR at sigma {sigma}",
                value=psnr(model.run(Capability.DENOISE_STEP, inputs, "x0"), truth),
                unit="dB",
                data="MNIST test",
                size=len(truth),
                seed=seed,
                note=f"noise not clipped, level told, no class; Wiener filter {psnr(linear, truth):.2f} dB",
            )
        )
    return figures


def wiener(noisy: np.ndarray, sigma: float, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """The linear estimate of least mean squared error: noisy (N, D) = x + sigma n, x of mean (D,) and covariance (D, D)."""
    variances, directions = np.linalg.eigh(covariance)  # (D,), (D, D)
    gains = variances.clip(0) / (variances.clip(0) + sigma**2)
    return mean + ((noisy - mean) @ directions * gains) @ directions.T
