"""Score: how probable items are under a model, and how unusual that is among normal ones.

The p-value is conformal (Bates et al. 2023, arXiv:2104.08279, eq. 2): with n calibration scores,
p = (1 + #{scores <= s}) / (n + 1). For an item drawn like the calibration data it is uniform or larger, so flagging
p <= alpha raises at most a share alpha of false alarms, whatever the model.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from contract import Capability
from service.engine.job import Arrays, Job, RowCall
from service.errors import ModelFailed
from service.model import LoadedModel
from service.tasks.tokens import pad, width_of

_UNNORMALISED = ("energy", "critic")


@dataclass(frozen=True)
class Scores:
    """One row for each item: log_prob in nats, the dimensions (values or tokens) it is spread over, p-values or None
    where the model has no calibration. An energy and a critic's score are no densities: they have no bits."""

    log_prob: np.ndarray
    dimensions: np.ndarray
    p_value: np.ndarray | None
    normalised: bool = True

    @property
    def bits_per_dim(self) -> np.ndarray | None:
        return -self.log_prob / (self.dimensions * math.log(2)) if self.normalised else None


def p_values(scores: np.ndarray, calibration: np.ndarray) -> np.ndarray:
    """Conformal p-values of scores (N,), higher being more normal, given ascending calibration scores (n,)."""
    return (1 + np.searchsorted(calibration, scores, side="right")) / (len(calibration) + 1)


def score_samples(model: LoadedModel, samples: np.ndarray) -> Job:
    """Score images (N, C, H, W) or vectors (N, D). Returns Scores."""
    outputs = yield RowCall(Capability.LOG_DENSITY, {"x": samples})
    dimensions = np.full(len(samples), samples[0].size, np.float64)
    return _scores(model, outputs["log_prob"].astype(np.float64), dimensions)


def score_texts(model: LoadedModel, rows: Sequence[np.ndarray]) -> Job:
    """Score texts given as token ids. Returns Scores.

    A text longer than the context is scored in consecutive windows, each given the last token of the one before it:
    its log-probability is the sum.
    """
    text = model.manifest.text
    assert text is not None, "the contract asks for it"
    total = np.zeros(len(rows))
    by_width: dict[int, list[tuple[int, np.ndarray]]] = {}
    for i, ids in enumerate(rows):
        sequence = np.concatenate([[text.start_token], ids])
        for start in range(0, len(ids), text.context):
            window = sequence[start : start + text.context + 1]
            width = width_of(len(window) - 1, text.context) + 1  # the first token is given
            by_width.setdefault(width, []).append((i, window))
    for width, windows in by_width.items():
        outputs = yield RowCall(Capability.LOG_DENSITY, pad([window for _, window in windows], width))
        np.add.at(total, [i for i, _ in windows], _sums(outputs))
    return _scores(model, total, np.array([len(ids) for ids in rows], np.float64))


def _sums(outputs: Arrays) -> np.ndarray:
    """The rows' log-probabilities (B,), float64, from their parts where the graph gives them.

    A graph's own sum in float32 depends on the number of rows in its batch; the parts do not.
    """
    parts = outputs.get("log_prob_map")
    return outputs["log_prob"].astype(np.float64) if parts is None else parts.astype(np.float64).sum(axis=-1)


def _scores(model: LoadedModel, log_prob: np.ndarray, dimensions: np.ndarray) -> Scores:
    if not np.isfinite(log_prob).all():
        bad = np.flatnonzero(~np.isfinite(log_prob))[0]
        raise ModelFailed(f"model {model.id} returned a log-probability that is no number for item {bad}")
    p = None
    calibration = model.manifest.calibration
    if calibration is not None and model.calibration is not None:
        per_token = calibration.statistic == "log_prob_per_token"
        p = p_values(log_prob / dimensions if per_token else log_prob, model.calibration)
    density = model.manifest.capabilities[Capability.LOG_DENSITY].density
    return Scores(log_prob, dimensions, p, density not in _UNNORMALISED)
