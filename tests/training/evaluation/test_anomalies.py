"""The figures of anomaly scores are what their names say."""

import numpy as np
import pytest

from training.evaluate import EvaluationError, ExportedModel, find_metrics
from training.evaluation.anomalies import auroc, standard_error
from training.evaluation.density import conformal_p_values


def test_auroc_is_the_share_of_pairs_in_which_the_normal_one_scores_higher():
    normal, strange = np.array([3.0, 1.0, 2.0]), np.array([0.0, 2.5])
    pairs = [float(n > s) for n in normal for s in strange]
    assert auroc(normal, strange) == pytest.approx(np.mean(pairs))


def test_the_standard_error_is_that_of_repeated_calibrations_and_tests():
    rng = np.random.default_rng(0)
    shares = [
        (conformal_p_values(rng.normal(size=500), np.sort(rng.normal(size=1000))) <= 0.1).mean() for _ in range(600)
    ]
    assert np.std(shares) == pytest.approx(standard_error(0.1, 500, 1000), rel=0.12)


@pytest.mark.parametrize("name", ["scored_omniglot", "scored_corruptions", "scored_simple", "scored_flagged_shares"])
def test_a_model_without_scores_is_refused_by_name(synthetic_store, data_root, name):
    model = ExportedModel.open(synthetic_store / "mnist-features" / "1")
    with pytest.raises(EvaluationError, match="mnist-features: has no"):
        find_metrics((name,))[0](model, data_root, 0)
