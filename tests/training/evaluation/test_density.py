"""Conformal p-values keep their promise, and the shipped flow its bars."""

from pathlib import Path

import numpy as np
import pytest

from tests.bars import bar
from training.evaluate import ExportedModel
from training.evaluation.density import bits_per_dim, conformal_p_values, detection, flagged_share, positives

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
    apart = {name: value for name, value, _ in detection(np.arange(600.0, 1000), np.arange(600.0))}
    assert apart == {"AUROC": 1.0, "average precision": 1.0, "FPR at 95% TPR": 0.0}
    scores = np.random.default_rng(0).normal(size=1000)
    mixed = {name: value for name, value, _ in detection(scores[:400], scores[400:])}
    assert mixed["AUROC"] == pytest.approx(0.5, abs=0.05)
    assert mixed["average precision"] == pytest.approx(0.6, abs=0.05)  # the share of what is strange
    assert mixed["FPR at 95% TPR"] == pytest.approx(95, abs=4)


def test_the_false_positive_rate_is_that_of_the_threshold_which_flags_95_in_100():
    strange, normal = np.arange(100.0), np.array([95.5, 94.5, 93.5, 101.0])  # 95 strange scores are at 94 or below
    figures = {name: value for name, value, _ in detection(normal, strange)}
    assert figures["FPR at 95% TPR"] == 25.0


def test_what_is_strange_is_the_positive_and_the_note_has_its_share():
    """One strange item among four, second from below: a precision of 1/2 at its recall."""
    normal, strange = np.array([0.0, 2.0, 3.0]), np.array([1.0])
    figures = {name: value for name, value, _ in detection(normal, strange)}
    assert figures["average precision"] == 0.5
    assert figures["FPR at 95% TPR"] == pytest.approx(100 / 3)
    assert positives("ones", normal, strange) == "ones are the positives, 25.0% of the items"


@pytest.mark.slow
@pytest.mark.skipif(not SHIPPED.is_dir(), reason="needs exported/mnist-flow/1")
def test_the_shipped_flow_flags_one_in_twenty_and_compresses(data_root):
    model = ExportedModel.open(SHIPPED)
    assert 4 <= flagged_share(model, data_root, seed=0)[0].value <= 6
    assert bits_per_dim(model, data_root, seed=0)[0].value <= bar("mnist-flow", "bits per dimension")
