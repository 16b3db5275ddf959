"""Score: how normal items are under a model, and how unusual that is among normal ones.

The p-value is conformal (Bates et al. 2023, arXiv:2104.08279, eq. 2): with n calibration scores,
p = (1 + #{scores <= s}) / (n + 1). For an item drawn like the calibration data it is uniform or larger, so flagging
p <= alpha raises at most a share alpha of false alarms, whatever the model; and as the p-values of several items are
positively dependent, Benjamini and Hochberg's rule keeps the share of false ones among the flagged (their theorem 2).

That holds on average over calibration sets. A server has one, and judges batch after batch by it; so where it has ENOUGH
scores, the rule is given p-values that are valid for nine calibration sets in ten, each by itself (their section 3, with
Simes' adjustment). With fewer, the smallest of them would be too large to find anything.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from contract import Capability
from service.engine.job import Arrays, Job, RowCall
from service.errors import Invalid, ModelFailed
from service.model import Card, LoadedModel
from service.tasks.tokens import pad, width_of

UNSURE = 0.1
"""How many calibration sets may be unlucky, where false discoveries are bounded."""
ENOUGH = 1000
_UNNORMALISED = ("energy", "critic")


@dataclass(frozen=True)
class Scores:
    """One row for each of N items, one column for each of K statistics; the default statistic is number `default`.

    normality (N, K) float64, higher is more normal; p_values (N, K), None where the model has no calibration.
    log_prob (N,) in nats where the model has a density, and the dimensions (values or tokens) it is spread over. An
    energy and a critic's score are no densities: they have no bits. surprise is what each value of an item takes away
    from the default statistic, float32 of an item's shape or (tokens,), where the model says it.
    """

    statistics: tuple[str, ...]
    default: int
    normality: np.ndarray
    p_values: np.ndarray | None
    log_prob: np.ndarray | None
    dimensions: np.ndarray
    normalised: bool = True
    surprise: Sequence[np.ndarray] | np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.normality)

    @property
    def p_value(self) -> np.ndarray | None:
        """By the default statistic, (N,)."""
        return None if self.p_values is None else self.p_values[:, self.default]

    @property
    def bits_per_dim(self) -> np.ndarray | None:
        if self.log_prob is None or not self.normalised:
            return None
        return -self.log_prob / (self.dimensions * math.log(2))


def p_values(scores: np.ndarray, calibration: np.ndarray) -> np.ndarray:
    """Conformal p-values of scores (N,), higher being more normal, given ascending calibration scores (n,)."""
    return (1 + np.searchsorted(calibration, scores, side="right")) / (len(calibration) + 1)


def conditional(p: np.ndarray, size: int) -> np.ndarray:
    """Conformal p-values (N,) by `size` calibration scores, made valid for that calibration set alone if it is large."""
    if size < ENOUGH:
        return p
    return _adjusted(size)[np.rint(p * (size + 1)).astype(np.int64)]


@lru_cache(64)
def _adjusted(n: int) -> np.ndarray:
    """What the j-th smallest conformal p-value j / (n + 1) becomes, at place j of (n + 2,).

    1 - (UNSURE i (i - 1) … (i - k + 1) / (n (n - 1) … (n - k + 1)))^(1/k), i = n + 1 - j and k = n/2 (Bates et al., eq. 9):
    with probability 1 - UNSURE no share of normal scores as low as the j-th calibration score is larger.
    """
    k = max(1, n // 2)
    log_factorial = np.concatenate([[0], np.log(np.arange(1, n + 1)).cumsum()])
    i = n + 1 - np.arange(1, n + 1)
    product = log_factorial[i] - log_factorial[np.maximum(i - k, 0)] - log_factorial[n] + log_factorial[n - k]
    adjusted = np.where(i >= k, -np.expm1((math.log(UNSURE) + product) / k), 1.0)
    return np.concatenate([[0.0], adjusted, [1.0]])


def discoveries(p: np.ndarray, fdr: float) -> np.ndarray:
    """Which of the p-values (N,) Benjamini and Hochberg's rule flags at a false discovery rate: (N,) bool.

    Those up to the largest one that is at most fdr times its rank over N (1995, eq. 1).
    """
    ordered = np.sort(p)
    small = np.flatnonzero(ordered <= fdr * np.arange(1, len(p) + 1) / len(p))
    return p <= ordered[small[-1]] if len(small) else np.zeros(len(p), bool)


def statistics_of(card: Card) -> tuple[str, ...]:
    """The statistics that a model scores by; the default first where it has only one."""
    if card.manifest.scoring is not None:
        return card.manifest.scoring.statistics
    return ("log_prob_per_token",) if card.manifest.data.kind == "text" else ("log_prob",)


def default_of(card: Card) -> str:
    """The statistic that decides where a request does not say."""
    scoring = card.manifest.scoring
    return scoring.default if scoring is not None else statistics_of(card)[0]


def explains(card: Card) -> bool:
    """Whether a model says where in an item its surprise lies."""
    if card.serving("score") is Capability.SCORE:
        return card.gives(Capability.SCORE, "surprise")
    graph = card.manifest.capabilities.get(Capability.LOG_DENSITY)
    parts = next((t for t in graph.outputs if t.name == "log_prob_map"), None) if graph else None
    if parts is None:
        return False
    return card.manifest.data.kind == "text" or tuple(parts.shape[1:]) == card.manifest.data.shape


def score_samples(model: LoadedModel, samples: np.ndarray, *, explain: bool = False) -> Job:
    """Score images (N, C, H, W) or vectors (N, D). Returns Scores."""
    if explain:
        _can_explain(model)
    dimensions = np.full(len(samples), samples[0].size, np.float64)
    scoring = model.manifest.scoring
    if model.serving("score") is Capability.SCORE and scoring is not None:
        outputs = yield RowCall(Capability.SCORE, {"x": samples})
        normality = outputs["normality"].astype(np.float64)
        log_prob = normality[:, scoring.statistics.index("log_prob")] if "log_prob" in scoring.statistics else None
        return _scores(model, normality, log_prob, dimensions, outputs["surprise"] if explain else None)
    outputs = yield RowCall(Capability.LOG_DENSITY, {"x": samples})
    log_prob = outputs["log_prob"].astype(np.float64)
    return _scores(model, log_prob[:, None], log_prob, dimensions, -outputs["log_prob_map"] if explain else None)


def score_texts(model: LoadedModel, rows: Sequence[np.ndarray], *, explain: bool = False) -> Job:
    """Score texts given as token ids. Returns Scores.

    A text longer than the context is scored in consecutive windows, each given the last token of the one before it:
    its log-probability is the sum, and by any other statistic it is as normal as the strangest of them.
    """
    if explain:
        _can_explain(model)
    dimensions = np.array([len(ids) for ids in rows], np.float64)
    surprise = [np.zeros(len(ids), np.float32) for ids in rows] if explain else None
    scoring, total = model.manifest.scoring, np.zeros(len(rows))
    if model.serving("score") is Capability.SCORE and scoring is not None:
        normality = np.full((len(rows), len(scoring.statistics)), np.inf)
        adds_up = scoring.statistics.index("log_prob") if "log_prob" in scoring.statistics else None
        for width, windows in _windows(model, rows, ended=True).items():
            outputs = yield RowCall(Capability.SCORE, pad([window.ids for window in windows], width))
            found, items = outputs["normality"].astype(np.float64), [window.item for window in windows]
            np.minimum.at(normality, items, found)
            if adds_up is not None:
                np.add.at(total, items, found[:, adds_up])
            if surprise is not None:
                _place(windows, outputs["surprise"], surprise)
        if adds_up is not None:
            normality[:, adds_up] = total
        return _scores(model, normality, None if adds_up is None else total, dimensions, surprise)
    for width, windows in _windows(model, rows).items():
        outputs = yield RowCall(Capability.LOG_DENSITY, pad([window.ids for window in windows], width))
        np.add.at(total, [window.item for window in windows], _sums(outputs))
        if surprise is not None:
            _place(windows, -outputs["log_prob_map"], surprise)
    return _scores(model, (total / dimensions)[:, None], total, dimensions, surprise)


@dataclass(frozen=True)
class _Window:
    """A part of text number `item`: the tokens from `start` on, after the one before them, which is given."""

    item: int
    start: int
    ids: np.ndarray


def _windows(model: LoadedModel, rows: Sequence[np.ndarray], *, ended: bool = False) -> dict[int, list[_Window]]:
    """Texts in parts that the context holds, by the width that they are padded to; `ended` by the end token."""
    text = model.manifest.text
    assert text is not None, "the contract asks for it"
    end = () if not ended or text.end_token is None else (text.end_token,)
    by_width: dict[int, list[_Window]] = {}
    for item, ids in enumerate(rows):
        sequence = np.concatenate([text.start, ids, end]).astype(np.int64)
        for start in range(0, len(sequence) - 1, text.context):
            window = sequence[start : start + text.context + 1]
            width = width_of(len(window) - 1, text.context) + 1  # the first token is given
            by_width.setdefault(width, []).append(_Window(item, start, window))
    return by_width


def _place(windows: Sequence[_Window], parts: np.ndarray, surprise: list[np.ndarray]) -> None:
    """Put the surprise of windows (B, width) where it belongs; that of a text's end is added to its last token's."""
    for window, of_window in zip(windows, parts, strict=True):
        whole = surprise[window.item]
        new = of_window[1 : len(window.ids)]  # the first one is given
        inside = new[: len(whole) - window.start]
        whole[window.start : window.start + len(inside)] += inside
        whole[-1] += new[len(inside) :].sum()


def _sums(outputs: Arrays) -> np.ndarray:
    """The rows' log-probabilities (B,), float64, from their parts where the graph gives them.

    A graph's own sum in float32 depends on the number of rows in its batch; the parts do not.
    """
    parts = outputs.get("log_prob_map")
    return outputs["log_prob"].astype(np.float64) if parts is None else parts.astype(np.float64).sum(axis=-1)


def _can_explain(model: LoadedModel) -> None:
    if not explains(model):
        raise Invalid(f"explain: model {model.id} does not say where its surprise lies: leave it out", field="explain")


def _scores(
    model: LoadedModel,
    normality: np.ndarray,
    log_prob: np.ndarray | None,
    dimensions: np.ndarray,
    surprise: Sequence[np.ndarray] | np.ndarray | None,
) -> Scores:
    if not np.isfinite(normality).all():
        bad = np.flatnonzero(~np.isfinite(normality).all(axis=1))[0]
        raise ModelFailed(f"model {model.id} returned a score that is no number for item {bad}")
    if surprise is not None and not all(np.isfinite(part).all() for part in surprise):
        raise ModelFailed(f"model {model.id} returned a surprise that is no number")
    statistics = statistics_of(model)
    p = None
    if model.calibration is not None:
        columns = zip(normality.T, model.calibration, strict=True)
        p = np.stack([p_values(column, known) for column, known in columns], axis=1)
    graph = model.manifest.capabilities.get(Capability.LOG_DENSITY)
    normalised = graph is None or graph.density not in _UNNORMALISED
    default = statistics.index(default_of(model))
    return Scores(statistics, default, normality, p, log_prob, dimensions, normalised, surprise)
