"""Whether what a model scores is still like the data it was calibrated on.

Conformal p-values of normal data are uniform, whatever the model, so one rule watches all models: the Kolmogorov-Smirnov
distance between a sliding window of p-values and the uniform distribution.
"""

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

WINDOW = 1000
_BINS = 20
_ALPHAS = (0.01, 0.05, 0.1)


def deviation(p: np.ndarray, calibration_size: int) -> float:
    """The largest distance between the distributions of p-values (N,) and of those of normal data, which are uniform over
    1 / (n + 1), 2 / (n + 1) … 1."""
    values, counts = np.unique(p, return_counts=True)
    after = np.cumsum(counts) / len(p)
    before = after - counts / len(p)
    return float(max(np.abs(after - values).max(), np.abs(values - 1 / (calibration_size + 1) - before).max()))


def significance(distance: float, size: int, calibration_size: int) -> float:
    """How likely so large a distance is where nothing has changed.

    The window and the calibration set are two samples of one distribution: Kolmogorov's, with Stephens' correction for
    small samples (Press et al., Numerical Recipes, 3rd edition, section 14.3.3).
    """
    root = math.sqrt(size * calibration_size / (size + calibration_size))
    x = (root + 0.12 + 0.11 / root) * distance
    if x < 0.2:  # the series needs many terms, and is 1 to twelve digits
        return 1.0
    return min(1.0, max(0.0, 2 * sum((-1) ** (k - 1) * math.exp(-2 * (k * x) ** 2) for k in range(1, 101))))


@dataclass
class _Watched:
    """The p-values of one model: the last WINDOW of them, and the counts of all."""

    version: str
    content: str
    calibration_size: int
    last: np.ndarray = field(default_factory=lambda: np.zeros(0))
    counts: np.ndarray = field(default_factory=lambda: np.zeros(_BINS, np.int64))
    total: float = 0.0


class Drift(Collector):
    """Watches every model's p-values, and tells Prometheus of them."""

    def __init__(self) -> None:
        self._models: dict[str, _Watched] = {}
        self._lock = threading.Lock()

    def observe(self, model: str, version: str, content: str, calibration_size: int, p: np.ndarray) -> None:
        """A model gave these p-values, in (0, 1]. A model of other content starts from nothing."""
        if not len(p):
            return
        bins = np.minimum(np.ceil(p * _BINS - 1e-9).astype(np.int64) - 1, _BINS - 1)
        with self._lock:
            watched = self._models.get(model)
            if watched is None or watched.content != content:
                watched = self._models[model] = _Watched(version, content, calibration_size)
            watched.last = np.concatenate([watched.last, p])[-WINDOW:]
            watched.counts += np.bincount(bins, minlength=_BINS)
            watched.total += float(p.sum())

    def forget(self, model: str, version: str) -> None:
        """A version of a model is gone."""
        with self._lock:
            if model in self._models and self._models[model].version == version:
                del self._models[model]

    def report(self, model: str) -> dict[str, Any]:
        """The numbers of a model's window; of one that scored nothing yet, none."""
        with self._lock:
            watched = self._models.get(model)
            p = np.zeros(0) if watched is None else watched.last
        head = {"window": WINDOW, "size": len(p)}
        if watched is None or not len(p):
            return {**head, "ks": None, "significance": None, "mean_p_value": None, "flagged": None, "histogram": None}
        distance = deviation(p, watched.calibration_size)
        return {
            **head,
            "ks": distance,
            "significance": significance(distance, len(p), watched.calibration_size),
            "mean_p_value": float(p.mean()),
            "flagged": {str(alpha): float((p <= alpha).mean()) for alpha in _ALPHAS},
            "histogram": np.histogram(p, _BINS, (0.0, 1.0))[0].tolist(),
        }

    def collect(self) -> Iterator[Metric]:
        """The histogram of all p-values, and each window's distance with its significance."""
        histogram = HistogramMetricFamily(
            "amostra_score_p_value", "Conformal p-values; uniform for normal data.", labels=["model"]
        )
        distances = GaugeMetricFamily(
            "amostra_score_drift_ks", f"Distance of the last {WINDOW} p-values from uniform ones.", labels=["model"]
        )
        significances = GaugeMetricFamily(
            "amostra_score_drift_significance", "How likely that distance is by chance.", labels=["model"]
        )
        with self._lock:
            watched_models = [
                (name, w.counts.copy(), w.total, w.last, w.calibration_size) for name, w in self._models.items()
            ]
        for name, counts, total, last, size in watched_models:
            upper = [*(f"{(i + 1) / _BINS:g}" for i in range(_BINS - 1)), "+Inf"]
            histogram.add_metric([name], list(zip(upper, np.cumsum(counts).tolist(), strict=True)), total)
            distance = deviation(last, size)
            distances.add_metric([name], distance)
            significances.add_metric([name], significance(distance, len(last), size))
        yield from (histogram, distances, significances)
