"""How well a density fits images that it was not trained on, and how well its scores tell strange ones.

All figures come through the `log_density` graph. Of a session's images, x = k/255 with grey levels k, (N, 1, H, W).
"""

import math
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from contract import Capability
from contract.manifest import Measurement
from training.data.images import images
from training.evaluate import EvaluationError, ExportedModel, metric

ALPHA = 0.05
TEST = "MNIST test"

Grey = NDArray[np.float32]


def conformal_p_values(scores: NDArray[np.float64], calibration: NDArray[np.float64]) -> NDArray[np.float64]:
    """(1 + how many calibration scores are as low) / (n + 1), for scores (N,) and ascending calibration scores (n,).

    Of data like the calibration data, at most a share alpha has p <= alpha (Vovk et al. 2005; Bates et al. 2023, arXiv
    2104.08279).
    """
    return (1 + np.searchsorted(calibration, scores, side="right")) / (len(calibration) + 1)


@metric
def bits_per_dim(model: ExportedModel, data_root: Path | None, seed: int) -> list[Measurement]:
    """Of uniformly dequantised grey levels k + u, a bound on what the discrete levels take; of a model over the levels
    themselves, exact."""
    rng = np.random.default_rng(seed)
    levels = _levels("mnist", data_root)
    dims = levels[0].size

    def bits(scores: NDArray[np.float64]) -> float:
        return float(-scores.mean() / (dims * math.log(2)))

    def dequantised(k: Grey) -> Grey:
        return k + rng.random(k.shape, np.float32) - np.float32(0.5)

    at_centre = bits(_scores(model, "mnist", data_root))
    if model.manifest.pixels is not None:
        note = "exact: the probability of the 256 grey levels themselves"
        return [
            Measurement(
                metric="bits per dimension", value=at_centre, unit="bits/dim", data=TEST, size=len(levels), note=note
            )
        ]
    return [
        Measurement(
            metric="bits per dimension",
            value=bits(_log_prob(model, dequantised(levels))),
            unit="bits/dim",
            data=TEST,
            size=len(levels),
            seed=seed,
            note=f"uniformly dequantised, 256 grey levels; at their centres, as served, {at_centre:.4f}",
        )
    ]


@metric
def flagged_share(model: ExportedModel, data_root: Path | None, seed: int) -> list[Measurement]:
    """How many test images the conformal p-value flags at alpha, where alpha of them should be."""
    if model.manifest.calibration is None:
        raise EvaluationError(f"{model.manifest.name}: has no calibration scores to measure")
    calibration = np.load(model.directory / model.manifest.calibration.scores.file, allow_pickle=False)
    p_values = conformal_p_values(_scores(model, "mnist", data_root), calibration)
    return [
        Measurement(
            metric=f"flagged at alpha = {ALPHA}",
            value=100 * float((p_values <= ALPHA).mean()),
            unit="%",
            data=TEST,
            size=len(p_values),
            note=f"conformal p-values against {len(calibration)} held-out training images",
        )
    ]


@metric
def out_of_distribution(model: ExportedModel, data_root: Path | None, seed: int) -> list[Measurement]:
    """How well log_prob tells MNIST's test digits from Omniglot's characters; a digit is the positive."""
    digits, characters = (_scores(model, name, data_root) for name in ("mnist", "omniglot"))
    is_digit = np.repeat([1, 0], [len(digits), len(characters)])
    return [
        Measurement(
            metric=name,
            value=value,
            unit=unit,
            data="MNIST test against Omniglot",
            size=len(is_digit),
            note="the score is log_prob, digits are the positives",
        )
        for name, value, unit in detection(is_digit, np.concatenate([digits, characters]))
    ]


def detection(is_normal: NDArray[np.int64], scores: NDArray[np.float64]) -> list[tuple[str, float, str]]:
    """AUROC, average precision and FPR at 95% TPR, as (name, value, unit); scores (N,) are higher for what is normal.

    AUROC is 1 where every normal item scores higher than every other, 0.5 for chance; the FPR is the share of others that
    pass where 95% of the normal items do.
    """
    fpr, tpr, _ = roc_curve(is_normal, scores)
    return [
        ("AUROC", float(roc_auc_score(is_normal, scores)), ""),
        ("average precision", float(average_precision_score(is_normal, scores)), ""),
        ("FPR at 95% TPR", 100 * float(fpr[np.searchsorted(tpr, 0.95)]), "%"),
    ]


def _levels(name: str, data_root: Path | None) -> Grey:
    return images(name, "test", data_root)[0].numpy().astype(np.float32)


@lru_cache(maxsize=2)
def _scores(model: ExportedModel, name: str, data_root: Path | None) -> NDArray[np.float64]:
    """log_prob of a data set's test images as they are, in nats, (N,); several metrics ask for them."""
    return _log_prob(model, _levels(name, data_root))


def _log_prob(model: ExportedModel, levels: Grey) -> NDArray[np.float64]:
    """Nats, (N,), of grey levels, which may lie anywhere in their cells."""
    return model.run(Capability.LOG_DENSITY, {"x": levels / np.float32(255)}, "log_prob").astype(np.float64)
