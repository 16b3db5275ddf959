"""Conformal p-values keep their promise, and the shipped flow its bars."""

from pathlib import Path

import numpy as np
import pytest

from training.evaluate import ExportedModel
from training.evaluation.density import bits_per_dim, conformal_p_values, detection, flagged_share

SHIPPED = Path(__file__).parents[3] / "exported" / "mnist-flow" / "1"


def test_a_p_value_counts_the_calibration_scores_that_are_as_low():
    calibration = np.array([1.0, 2.0, 2.0, 3.0])
    assert conformal_p_values(np.array([0.0, 2.0, 9.0]), calibration) == pytest.approx([1 / 5, 4 / 5, 1])


def test_p_values_of_like_data_are_uniform():
    rng = np.random.default_rng(0)
    p_values = conformal_p_values(rng.normal(size=20_000), np.sort(rng.normal(size=5_000)))
    for alpha in (0.01, 0.05, 0.5):
        assert (p_values <= alpha).mean() == pytest.approx(alpha, rel=0.15)


def test_detection_is_perfect_where_scores_separate_and_chance_where_they_do_not():
    is_normal = np.repeat([1, 0], [400, 600])
    apart = {name: value for name, value, _ in detection(is_normal, np.arange(1000.0)[::-1])}
    assert apart == {"AUROC": 1.0, "average precision": 1.0, "FPR at 95% TPR": 0.0}
    scores = np.random.default_rng(0).normal(size=1000)
    mixed = {name: value for name, value, _ in detection(is_normal, scores)}
    assert mixed["AUROC"] == pytest.approx(0.5, abs=0.05)
    assert mixed["average precision"] == pytest.approx(0.4, abs=0.05)
    assert mixed["FPR at 95% TPR"] == pytest.approx(95, abs=4)


def test_the_false_positive_rate_is_that_of_the_threshold_which_passes_95_in_100():
    normal, other = np.arange(100.0), np.array([3.5, 4.5, 5.5, -1.0])  # 95 normal scores are at 5 or above
    figures = {name: value for name, value, _ in detection(np.repeat([1, 0], [100, 4]), np.append(normal, other))}
    assert figures["FPR at 95% TPR"] == 25.0


@pytest.mark.slow
@pytest.mark.skipif(not SHIPPED.is_dir(), reason="needs exported/mnist-flow/1")
def test_the_shipped_flow_flags_one_in_twenty_and_compresses(data_root):
    model = ExportedModel.open(SHIPPED)
    assert 4 <= flagged_share(model, data_root, seed=0)[0].value <= 6
    assert bits_per_dim(model, data_root, seed=0)[0].value <= 1.15
