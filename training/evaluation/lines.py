"""How well a model of lines tells strange lines, and whether its alarms are as rare as promised.

All figures come through the exported graph, as the service scores lines; what is normal are the lines of the test part. What
is strange here was not looked at to fit the model or to choose its score.
"""

import argparse
import base64
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from contract.manifest import Measurement, Scoring
from training.data.lines import LINES, split_lines
from training.evaluate import EvaluationError, ExportedModel, metric
from training.evaluation.anomalies import ALPHAS, Statistics, standard_error, told
from training.evaluation.density import conformal_p_values
from training.scored_lines import scored_lines

AT_ONCE = 64
FLIPPED = 3


@metric
def lines_flagged(model: ExportedModel, data_root: Path | None, seed: int) -> list[Measurement]:
    """How many test lines the conformal p-value flags at alpha, where alpha of them should be."""
    calibration, scoring = model.manifest.calibration, _scoring(model)
    if calibration is None:
        raise EvaluationError(f"{model.manifest.name}: has no calibrated scores to measure")
    default = scoring.statistics.index(scoring.default)
    known = np.load(model.directory / calibration.scores.file, allow_pickle=False)[default]
    p_values = conformal_p_values(normality(model, test_lines(model, data_root))[default], known)
    return [
        Measurement(
            metric=f"flagged at alpha = {alpha}",
            value=100 * float((p_values <= alpha).mean()),
            unit="%",
            data=f"{model.manifest.data.dataset}, test lines",
            size=len(p_values),
            note=f"against {len(known)} held-out lines; "
            f"the standard error is {100 * standard_error(alpha, len(p_values), len(known)):.2f} points",
        )
        for alpha in ALPHAS
    ]


@metric
def lines_told(model: ExportedModel, data_root: Path | None, seed: int) -> list[Measurement]:
    """The test lines against lines of each strange kind."""
    lines, rng, default = test_lines(model, data_root), np.random.default_rng(seed), _scoring(model).default
    normal, found = _by_statistic(model, lines), []
    for name, make in STRANGE.items():
        strange = _by_statistic(model, make(lines, rng))
        found += told(default, normal, strange, f"test lines against {name}", "strange lines", seed)
    return found


def normality(model: ExportedModel, lines: list[str]) -> NDArray[np.float64]:
    """By each statistic, (N, n)."""
    settings = model.manifest.text
    assert settings is not None, "the contract asks for it"
    tokenizer = Tokenizer.from_file(str(model.directory / settings.tokenizer.file))
    encodings = tokenizer.encode_batch(lines, add_special_tokens=False)
    rows = [np.array(encoding.ids, np.int64) for encoding in encodings]
    batches = (rows[at : at + AT_ONCE] for at in range(0, len(rows), AT_ONCE))
    return np.concatenate([scores.normality for scores in scored_lines(model.directory, model.manifest, batches)]).T


def _by_statistic(model: ExportedModel, lines: list[str]) -> Statistics:
    return dict(zip(_scoring(model).statistics, normality(model, lines), strict=True))


def _shuffled(lines: list[str], rng: np.random.Generator) -> list[str]:
    made = ("".join(rng.permutation(list(line))) for line in lines)
    return [strange for strange, line in zip(made, lines, strict=True) if strange != line]


def _flipped(lines: list[str], rng: np.random.Generator) -> list[str]:
    """One bit of seven in a few characters: what a faulty line does."""
    made = []
    for line in lines:
        blob = bytearray(line.encode())
        for place in rng.choice(len(blob), min(FLIPPED, len(blob)), replace=False):
            blob[place] ^= 1 << int(rng.integers(7))
        strange = blob.decode("utf-8", "replace").replace("\n", "\r")
        made.append(strange)
    return made


def _of_python(lines: list[str], rng: np.random.Generator) -> list[str]:
    """Lines of a module of Python's own library, without comments and the spaces around them."""
    module = Path(argparse.__file__).read_text(encoding="utf-8")
    stripped = (line.strip() for line in module.splitlines())
    return [line for line in stripped if len(line) > 1 and not line.startswith("#")][: len(lines)]


STRANGE: dict[str, Callable[[list[str], np.random.Generator], list[str]]] = {
    "the same with their characters shuffled": _shuffled,
    "the same backwards": lambda lines, rng: [line[::-1] for line in lines if line[::-1] != line],
    "the same in capitals": lambda lines, rng: [line.upper() for line in lines if line.upper() != line],
    f"the same with {FLIPPED} bits flipped": _flipped,
    "the same in base64": lambda lines, rng: [base64.b64encode(line.encode()).decode() for line in lines],
    "lines of Python": _of_python,
}


def test_lines(model: ExportedModel, data_root: Path | None) -> list[str]:
    """The tenth of its text that the model has not seen."""
    config = model.trained_on
    if config is None or config.dataset not in LINES:
        raise EvaluationError(f"{model.manifest.name}: was not trained on lines, so that there are none to measure")
    return split_lines(config.dataset, config.path, data_root, config.shuffled)[1]


def _scoring(model: ExportedModel) -> Scoring:
    if model.manifest.scoring is None:
        raise EvaluationError(f"{model.manifest.name}: has no score to measure")
    return model.manifest.scoring
