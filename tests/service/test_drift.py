"""Drift: the distance is what counting says, chance is rare as it says, and the window slides."""

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from scipy import stats

from service.drift import WINDOW, Drift, deviation, significance

SIZE = 499


def normal(rng: np.random.Generator, count: int) -> np.ndarray:
    """p-values of normal items: uniform over 1 / (n + 1) … 1."""
    return rng.integers(1, SIZE + 2, count) / (SIZE + 1)


def test_the_distance_is_the_largest_over_all_values() -> None:
    p = normal(np.random.default_rng(0), 200)
    grid = np.arange(SIZE + 2) / (SIZE + 1)
    counted = max(abs((p <= t).mean() - t) for t in grid)
    assert deviation(p, SIZE) == pytest.approx(counted)


def test_one_value_alone() -> None:
    assert deviation(np.full(50, 1 / (SIZE + 1)), SIZE) == pytest.approx(1 - 1 / (SIZE + 1))
    assert deviation(np.ones(50), SIZE) == pytest.approx(1 - 1 / (SIZE + 1))


@pytest.mark.parametrize("distance", [0.001, 0.03, 0.06, 0.1, 0.3])
def test_significance_is_kolmogorovs(distance: float) -> None:
    root = np.sqrt(1000 * SIZE / (1000 + SIZE))
    expected = stats.kstwobign.sf((root + 0.12 + 0.11 / root) * distance)
    assert significance(distance, 1000, SIZE) == pytest.approx(expected, abs=1e-9)


def test_normal_traffic_rarely_looks_changed() -> None:
    """Over calibration sets and windows, a significance below 5% comes about one time in twenty."""
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(300):
        calibration = np.sort(rng.normal(size=SIZE))
        p = (1 + np.searchsorted(calibration, rng.normal(size=400), side="right")) / (SIZE + 1)
        alarms += significance(deviation(p, SIZE), len(p), SIZE) < 0.05
    assert 3 <= alarms <= 30


def test_the_window_holds_the_last_ones() -> None:
    drift, rng = Drift(), np.random.default_rng(2)
    drift.observe("m", "1", "c", SIZE, np.full(WINDOW, 0.002))
    assert drift.report("m")["ks"] > 0.9
    drift.observe("m", "1", "c", SIZE, normal(rng, WINDOW))
    report = drift.report("m")
    assert report["size"] == WINDOW
    assert report["ks"] < 0.08
    assert report["flagged"]["0.05"] == pytest.approx(0.05, abs=0.03)


def test_another_model_of_the_name_starts_anew() -> None:
    drift = Drift()
    drift.observe("m", "1", "c", SIZE, np.full(10, 0.5))
    drift.observe("m", "2", "other", SIZE, np.full(3, 0.5))
    assert drift.report("m")["size"] == 3
    drift.forget("m", "1")
    assert drift.report("m")["size"] == 3
    drift.forget("m", "2")
    assert drift.report("m")["size"] == 0


def test_what_prometheus_reads() -> None:
    drift, registry = Drift(), CollectorRegistry()
    registry.register(drift)
    drift.observe("m", "1", "c", SIZE, np.array([0.05, 0.051, 1.0, 1 / (SIZE + 1)]))
    text = generate_latest(registry).decode()
    assert 'amostra_score_p_value_bucket{le="0.05",model="m"} 2.0' in text
    assert 'amostra_score_p_value_bucket{le="0.1",model="m"} 3.0' in text
    assert 'amostra_score_p_value_bucket{le="+Inf",model="m"} 4.0' in text
    assert 'amostra_score_p_value_count{model="m"} 4.0' in text
    assert 'amostra_score_drift_ks{model="m"}' in text
