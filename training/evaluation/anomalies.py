"""How well the default score of a model of images tells strange images, and whether its alarms are as rare as promised.

All figures come through the `score` graph; MNIST's test digits are what is normal. Nothing that is measured here was looked
at to fit the model or to choose the score.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from contract import Capability
from contract.manifest import Measurement, Scoring
from training.data.images import images
from training.evaluate import EvaluationError, ExportedModel, metric
from training.evaluation.corruptions import CORRUPTIONS, Grey, corrupted
from training.evaluation.density import conformal_p_values, detection, positives
from training.evaluation.simple_images import simple_images

ALPHAS = (0.01, 0.05, 0.1)
SIMPLE = 2000

Statistics = dict[str, NDArray[np.float64]]
"""The normality of items, (N,), by each statistic of a model."""


@metric
def scored_omniglot(model: ExportedModel, data_root: Path | None, seed: int) -> list[Measurement]:
    """MNIST's test digits against Omniglot's characters, as Omniglot's test set has them in 28×28."""
    characters = _by_statistic(model, _grey("omniglot", data_root))
    data = "MNIST test against Omniglot"
    return told(_scoring(model).default, _digits(model, data_root), characters, data, "characters")


@metric
def scored_corruptions(model: ExportedModel, data_root: Path | None, seed: int) -> list[Measurement]:
    """MNIST's test digits against the same digits, spoilt in twelve ways; each way against all digits."""
    digits, normal = _grey("mnist", data_root), _digits(model, data_root)[_scoring(model).default]
    spoilt = {name: detection(normal, normality(model, corrupted(name, digits, seed))) for name in CORRUPTIONS}
    figures = []
    for column in zip(*spoilt.values(), strict=True):
        metric_, unit = column[0][0], column[0][2]
        found = {name: value for name, (_, value, _) in zip(spoilt, column, strict=True)}
        worst = (max if metric_.startswith("FPR") else min)(found, key=found.__getitem__)
        note = _beside(found, unit)
        figures += [
            Measurement(
                metric=f"{metric_}, {of} of {len(found)} corruptions",
                value=value,
                unit=unit,
                data="MNIST test against the same, spoilt",
                size=len(digits) * (1 + len(found)),
                seed=seed,
                note=f"{note}; {positives('spoilt digits', digits, digits)}",
            )
            for of, value in (("mean", float(np.mean(list(found.values())))), (f"worst ({worst})", found[worst]))
        ]
    return figures


@metric
def scored_simple(model: ExportedModel, data_root: Path | None, seed: int) -> list[Measurement]:
    """MNIST's test digits against greys, dots, single strokes and halves, which plain likelihood finds likelier."""
    simple = _by_statistic(model, simple_images(SIMPLE, 28, seed))
    data = "MNIST test against simple images"
    return told(_scoring(model).default, _digits(model, data_root), simple, data, "simple images", seed)


@metric
def scored_flagged_shares(model: ExportedModel, data_root: Path | None, seed: int) -> list[Measurement]:
    """How many test digits the conformal p-value flags at each alpha, where alpha of them should be."""
    if model.manifest.calibration is None:
        raise EvaluationError(f"{model.manifest.name}: has no calibration scores to measure")
    scores = np.load(model.directory / model.manifest.calibration.scores.file, allow_pickle=False)
    calibration = scores[_scoring(model).statistics.index(_scoring(model).default)]
    p_values = conformal_p_values(_digits(model, data_root)[_scoring(model).default], calibration)
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
    return _by_statistic(model, x)[statistic or _scoring(model).default]


def auroc(normal: NDArray[np.float64], strange: NDArray[np.float64]) -> float:
    """1 where every normal image scores higher than every strange one, 0.5 for chance."""
    is_normal = np.repeat([1, 0], [len(normal), len(strange)])
    return float(roc_auc_score(is_normal, np.concatenate([normal, strange])))


def told(
    default: str, normal: Statistics, strange: Statistics, data: str, what: str, seed: int | None = None
) -> list[Measurement]:
    """How well the default statistic tells what is strange from what is normal, with what the others do beside it."""
    found = {name: detection(normal[name], strange[name]) for name in normal}
    both = normal[default], strange[default]
    figures = []
    for number, (metric_, value, unit) in enumerate(found[default]):
        beside = _beside({name: by[number][1] for name, by in found.items()}, unit)
        note = f"by {default}; {beside}; {positives(what, *both)}"
        rest = {"unit": unit, "data": data, "size": sum(map(len, both)), "seed": seed}
        figures.append(Measurement(metric=metric_, value=value, note=note, **rest))
    return figures


def _beside(found: dict[str, float], unit: str) -> str:
    """Figures by name, for a note."""
    return ", ".join(f"{name} {value:.{2 if unit else 4}f}" for name, value in found.items())


def _by_statistic(model: ExportedModel, x: Grey) -> Statistics:
    statistics = _scoring(model).statistics
    columns = model.run(Capability.SCORE, {"x": x}, "normality").astype(np.float64).T
    return dict(zip(statistics, columns, strict=True))


@lru_cache(maxsize=1)
def _digits(model: ExportedModel, data_root: Path | None) -> Statistics:
    """Of MNIST's test digits; every metric asks for them."""
    return _by_statistic(model, _grey("mnist", data_root))


def _scoring(model: ExportedModel) -> Scoring:
    if model.manifest.scoring is None:
        raise EvaluationError(f"{model.manifest.name}: has no score to measure")
    return model.manifest.scoring


def _grey(name: str, data_root: Path | None) -> Grey:
    return images(name, "test", data_root)[0].numpy().astype(np.float32) / np.float32(255)
