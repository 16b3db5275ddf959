"""How well a density fits images that it was not trained on, and how well its scores tell strange ones.

All figures come through the `log_density` graph. Of a session's images, x = k/255 with grey levels k, (N, 1, H, W).
"""

import math
from collections.abc import Sized
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

    Of data like the calibration data, at most a share alpha has p <= alpha on average over calibration sets (Vovk et al.
    2005; Bates et al. 2023, arXiv 2104.08279).
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
    """How well a low log_prob tells Omniglot's characters, the positives, from MNIST's test digits."""
    digits, characters = (_scores(model, name, data_root) for name in ("mnist", "omniglot"))
    return [
        Measurement(
            metric=name,
            value=value,
            unit=unit,
            data="MNIST test against Omniglot",
            size=len(digits) + len(characters),
            note=f"by log_prob; {positives('characters', digits, characters)}",
        )
        for name, value, unit in detection(digits, characters)
    ]


def detection(normal: NDArray[np.float64], strange: NDArray[np.float64]) -> list[tuple[str, float, str]]:
    """AUROC, average precision and FPR at 95% TPR, as (name, value, unit); what is strange is the positive, whose scores (M,)
    should be lower than those of what is normal (N,).

    By chance the AUROC is 0.5, the average precision M / (N + M), and the FPR 95%: it is the share of normal items that are
    flagged where 95% of the strange ones are.
    """
    is_strange, strangeness = np.repeat([0, 1], [len(normal), len(strange)]), -np.concatenate([normal, strange])
    fpr, tpr, _ = roc_curve(is_strange, strangeness, drop_intermediate=False)
    return [
        ("AUROC", float(roc_auc_score(is_strange, strangeness)), ""),
        ("average precision", float(average_precision_score(is_strange, strangeness)), ""),
        ("FPR at 95% TPR", 100 * float(fpr[np.searchsorted(tpr, 0.95)]), "%"),
    ]


def positives(what: str, normal: Sized, strange: Sized) -> str:
    """What the note of a detection's figures says of the positives and their prevalence."""
    return f"{what} are the positives, {100 * len(strange) / (len(normal) + len(strange)):.1f}% of the items"


def _levels(name: str, data_root: Path | None) -> Grey:
    return images(name, "test", data_root)[0].numpy().astype(np.float32)


@lru_cache(maxsize=2)
def _scores(model: ExportedModel, name: str, data_root: Path | None) -> NDArray[np.float64]:
    """log_prob of a data set's test images as they are, in nats, (N,); several metrics ask for them."""
    return _log_prob(model, _levels(name, data_root))


def _log_prob(model: ExportedModel, levels: Grey) -> NDArray[np.float64]:
    """Nats, (N,), of grey levels, which may lie anywhere in their cells."""
    return model.run(Capability.LOG_DENSITY, {"x": levels / np.float32(255)}, "log_prob").astype(np.float64)
