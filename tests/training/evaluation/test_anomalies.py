"""The figures of anomaly scores are what their names say."""

import numpy as np
import pytest

from training.evaluate import EvaluationError, ExportedModel, find_metrics
from training.evaluation.anomalies import auroc, standard_error, told
from training.evaluation.density import conformal_p_values


def test_auroc_is_the_share_of_pairs_in_which_the_normal_one_scores_higher():
    normal, strange = np.array([3.0, 1.0, 2.0]), np.array([0.0, 2.5])
    pairs = [float(n > s) for n in normal for s in strange]
    assert auroc(normal, strange) == pytest.approx(np.mean(pairs))


def test_the_default_statistic_is_measured_and_the_others_stand_in_the_note():
    normal = {"good": np.array([2.0, 3.0, 4.0]), "bad": np.array([0.0, 1.0, 2.0])}
    strange = {"good": np.array([1.0]), "bad": np.array([9.0])}
    figures = told("good", normal, strange, "these against those", "those", seed=3)
    assert [figure.metric for figure in figures] == ["AUROC", "average precision", "FPR at 95% TPR"]
    assert [figure.value for figure in figures] == [1.0, 1.0, 0.0]
    assert {(figure.size, figure.seed, figure.data) for figure in figures} == {(4, 3, "these against those")}
    rest = "those are the positives, 25.0% of the items"
    assert figures[0].note == f"by good; good 1.0000, bad 0.0000; {rest}"
    assert figures[2].note == f"by good; good 0.00, bad 100.00; {rest}"


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
