"""Conformal p-values keep their promise, and the shipped flow its bars."""

from pathlib import Path

import numpy as np
import pytest

from training.evaluate import ExportedModel
from training.evaluation.density import bits_per_dim, conformal_p_values, flagged_share

SHIPPED = Path(__file__).parents[3] / "exported" / "mnist-flow" / "1"


def test_a_p_value_counts_the_calibration_scores_that_are_as_low():
    calibration = np.array([1.0, 2.0, 2.0, 3.0])
    assert conformal_p_values(np.array([0.0, 2.0, 9.0]), calibration) == pytest.approx([1 / 5, 4 / 5, 1])


def test_p_values_of_like_data_are_uniform():
    rng = np.random.default_rng(0)
    p_values = conformal_p_values(rng.normal(size=20_000), np.sort(rng.normal(size=5_000)))
    for alpha in (0.01, 0.05, 0.5):
        assert (p_values <= alpha).mean() == pytest.approx(alpha, rel=0.15)


@pytest.mark.slow
@pytest.mark.skipif(not SHIPPED.is_dir(), reason="needs exported/mnist-flow/1")
def test_the_shipped_flow_flags_one_in_twenty_and_compresses(data_root):
    model = ExportedModel.open(SHIPPED)
    assert 4 <= flagged_share(model, data_root, seed=0)[0].value <= 6
    assert bits_per_dim(model, data_root, seed=0)[0].value <= 1.15
