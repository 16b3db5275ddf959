"""How well the default score of a model of images tells strange images, and whether its alarms are as rare as promised.

All figures come through the `score` graph; MNIST's test digits are what is normal. Nothing that is measured here was looked
at to fit the model or to choose the score.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from contract import Capability
from contract.manifest import Measurement, Scoring
from training.data.images import images
from training.evaluate import EvaluationError, ExportedModel, metric
from training.evaluation.corruptions import CORRUPTIONS, Grey, corrupted
from training.evaluation.density import conformal_p_values
from training.evaluation.simple_images import simple_images

ALPHAS = (0.01, 0.05, 0.1)
SIMPLE = 2000


@metric
def scored_omniglot(model: ExportedModel, data_root: Path | None, seed: int) -> list[Measurement]:
    """MNIST's test digits against Omniglot's characters, as Omniglot's test set has them in 28×28."""
    digits, characters = (_grey(name, data_root) for name in ("mnist", "omniglot"))
    return [_measurement(model, "MNIST test against Omniglot", digits, characters)]


@metric
def scored_corruptions(model: ExportedModel, data_root: Path | None, seed: int) -> list[Measurement]:
    """MNIST's test digits against the same digits, spoilt in twelve ways."""
    digits = _grey("mnist", data_root)
    normal = normality(model, digits)
    found = {name: auroc(normal, normality(model, corrupted(name, digits, seed))) for name in CORRUPTIONS}
    worst = min(found, key=lambda name: found[name])
    note = ", ".join(f"{name} {value:.4f}" for name, value in found.items())
    return [
        Measurement(
            metric=f"AUROC, {of} of {len(found)} corruptions",
            value=value,
            data="MNIST test against the same, spoilt",
            size=len(digits) * (1 + len(found)),
            seed=seed,
            note=note,
        )
        for of, value in (("mean", float(np.mean(list(found.values())))), (f"worst ({worst})", found[worst]))
    ]


@metric
def scored_simple(model: ExportedModel, data_root: Path | None, seed: int) -> list[Measurement]:
    """MNIST's test digits against greys, dots, single strokes and halves, which plain likelihood finds likelier."""
    digits = _grey("mnist", data_root)
    return [_measurement(model, "MNIST test against simple images", digits, simple_images(SIMPLE, 28, seed), seed)]


@metric
def scored_flagged_shares(model: ExportedModel, data_root: Path | None, seed: int) -> list[Measurement]:
    """How many test digits the conformal p-value flags at each alpha, where alpha of them should be."""
    if model.manifest.calibration is None:
        raise EvaluationError(f"{model.manifest.name}: has no calibration scores to measure")
    scores = np.load(model.directory / model.manifest.calibration.scores.file, allow_pickle=False)
    calibration = scores[_scoring(model).statistics.index(_scoring(model).default)]
    p_values = conformal_p_values(normality(model, _grey("mnist", data_root)), calibration)
    return [
        Measurement(
            metric=f"flagged at alpha = {alpha}",
            value=100 * float((p_values <= alpha).mean()),
            unit="%",
            data="MNIST test",
            size=len(p_values),
            note=f"against {len(calibration)} held-out training images; "
            f"the standard error is {100 * standard_error(alpha, len(p_values), len(calibration)):.2f} points",
        )
        for alpha in ALPHAS
    ]


def standard_error(alpha: float, tested: int, calibrated: int) -> float:
    """Of the share flagged at alpha: binomial of those tested, and of those calibrated on (Vovk 2012, Proposition 2)."""
    return float(np.sqrt(alpha * (1 - alpha) * (1 / tested + 1 / calibrated)))


def normality(model: ExportedModel, x: Grey, statistic: str | None = None) -> NDArray[np.float64]:
    """By one statistic of images (N, 1, H, W), by the default where none is named: (N,)."""
    scoring = _scoring(model)
    values = model.run(Capability.SCORE, {"x": x}, "normality").astype(np.float64)
    return values[:, scoring.statistics.index(statistic or scoring.default)]


def auroc(normal: NDArray[np.float64], strange: NDArray[np.float64]) -> float:
    """1 where every normal image scores higher than every strange one, 0.5 for chance."""
    is_normal = np.repeat([1, 0], [len(normal), len(strange)])
    return float(roc_auc_score(is_normal, np.concatenate([normal, strange])))


def _measurement(model: ExportedModel, data: str, normal: Grey, strange: Grey, seed: int | None = None) -> Measurement:
    """AUROC of the default, with those of all statistics beside it."""
    scoring = _scoring(model)
    both = [model.run(Capability.SCORE, {"x": x}, "normality").astype(np.float64).T for x in (normal, strange)]
    found = {name: auroc(*columns) for name, *columns in zip(scoring.statistics, *both, strict=True)}
    return Measurement(
        metric="AUROC",
        value=found[scoring.default],
        data=data,
        size=len(normal) + len(strange),
        seed=seed,
        note=f"by {scoring.default}; " + ", ".join(f"{name} {value:.4f}" for name, value in found.items()),
    )


def _scoring(model: ExportedModel) -> Scoring:
    if model.manifest.scoring is None:
        raise EvaluationError(f"{model.manifest.name}: has no score to measure")
    return model.manifest.scoring


def _grey(name: str, data_root: Path | None) -> Grey:
    return images(name, "test", data_root)[0].numpy().astype(np.float32) / np.float32(255)
