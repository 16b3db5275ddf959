"""How well noise is removed from photographs, and whether a generator draws the digit that one asks for."""

from pathlib import Path

import numpy as np
import torch

from contract import Capability
from contract.manifest import Measurement
from training.data import image_list, images
from training.evaluate import ExportedModel, metric
from training.evaluation.features import DigitClassifier, digit_classifier, predictions

NOISE_LEVELS = (15, 25, 50)  # of 255, the levels that papers report
REQUESTED_DIGITS = 1000
BATCH_SIZE = 100


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
    for level in NOISE_LEVELS:
        sigma = level / 255
        for told in (False, True):
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
def label_accuracy(
    model: ExportedModel, data_root: Path | None, seed: int, judge: DigitClassifier | None = None
) -> list[Measurement]:
    """How many of 1,000 requested digits, as many of each, a classifier of real digits takes for what was asked."""
    assert model.manifest.latent is not None
    session = model.session(Capability.DECODE)
    label = np.arange(REQUESTED_DIGITS, dtype=np.int64) % 10
    z = np.random.default_rng(seed).standard_normal((REQUESTED_DIGITS, model.manifest.latent.size), np.float32)
    x = np.concatenate(
        [
            session.run(["x"], {"z": z[first : first + BATCH_SIZE], "label": label[first : first + BATCH_SIZE]})[0]
            for first in range(0, REQUESTED_DIGITS, BATCH_SIZE)
        ]
    )
    judge = judge or digit_classifier(data_root)
    agreed = (predictions(judge, torch.from_numpy(x)).numpy() == label).mean()
    pixels, truth = images("mnist", "test", data_root)
    on_real = (predictions(judge, pixels.float() / 255) == truth).float().mean()
    return [
        Measurement(
            metric="requested digit recognised",
            value=100 * float(agreed),
            unit="%",
            data="generated digits, 100 of each class",
            size=REQUESTED_DIGITS,
            seed=seed,
            note=f"the classifier is right on {100 * float(on_real):.2f}% of MNIST's test digits",
        )
    ]
