"""The figures of generators agree with their definitions where those can be worked out by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from training.data.images import Images, synthetic_images
from training.evaluate import EvaluationError, ExportedModel
from training.evaluation import generation
from training.evaluation.generation import (
    accuracy_after_training,
    fid,
    fid_in_steps,
    frechet_distance,
    label_accuracy,
    mode_coverage,
    precision_recall,
    stacked_modes,
)
from training.evaluation.judge import Judge, judge_of

EXPORTED = Path(__file__).parents[3] / "exported"


def normal(n: int, seed: int, mean=0.0, deviation=1.0) -> np.ndarray:
    return (mean + deviation * np.random.default_rng(seed).standard_normal((n, 4))).astype(np.float32)


def test_the_frechet_distance_of_normal_features_is_the_closed_form():
    deviation = np.array([2.0, 1.0, 1.0, 0.5])
    found = frechet_distance(normal(50_000, 0), normal(50_000, 1, mean=0.5, deviation=deviation))
    assert found == pytest.approx(4 * 0.25 + ((deviation - 1) ** 2).sum(), rel=0.03)
    assert frechet_distance(normal(500, 0), normal(500, 0)) == pytest.approx(0, abs=1e-6)


def test_precision_and_recall_tell_quality_from_variety():
    real = normal(1000, 0)
    assert min(precision_recall(real, normal(1000, 1))) > 0.85
    precision, recall = precision_recall(real, normal(1000, 2, deviation=0.2))  # good, but all alike
    assert precision > 0.95
    assert recall < 0.3
    precision, recall = precision_recall(real, normal(1000, 3, deviation=5.0))  # of all kinds, but bad
    assert precision < 0.3
    assert recall > 0.95
    assert precision_recall(real, normal(1000, 4, mean=100.0)) == (0, 0)


def test_a_point_is_in_the_manifold_within_the_distance_of_the_kth_neighbour():
    manifold = np.array([[0.0], [1.0], [3.0]], np.float32)  # radii for k = 1: 1, 1, 2
    points = np.array([[-1.0], [-1.01], [5.0], [5.01]], np.float32)
    precision, recall = precision_recall(manifold, points, k=1)
    assert precision == 0.5
    assert recall == 0


def test_coverage_counts_modes_and_the_divergence_their_unevenness():
    assert mode_coverage(np.arange(1000), 1000) == (1000, pytest.approx(0))
    assert mode_coverage(np.zeros(50, np.int64), 1000) == (1, pytest.approx(math.log(1000)))
    assert mode_coverage(np.repeat([3, 4], 10), 1000) == (2, pytest.approx(math.log(500)))


def test_a_classifier_learns_from_the_images_that_it_is_given():
    train, test = Images(*synthetic_images(300, seed=0)), Images(*synthetic_images(100, seed=1))
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    accuracy = accuracy_after_training(train, test, seed=0, epochs=14)
    assert torch.equal(torch.rand(1), expected)  # the caller's randomness is left alone
    assert accuracy > 0.9


def test_a_store_without_a_judge_is_told_to_train_one(store):
    model = ExportedModel.open(store / "mnist-gan" / "1")
    with pytest.raises(EvaluationError, match=r"expected the judge mnist-features/1 .* `python -m training run"):
        judge_of(model)


def test_the_judge_of_a_store_is_its_feature_network(synthetic_store):
    judge = judge_of(ExportedModel.open(synthetic_store / "mnist-gan" / "1"))
    features = ExportedModel.open(synthetic_store / "mnist-features" / "1")
    assert judge.sha256 == features.manifest.capabilities["encode"].sha256
    x = np.random.default_rng(0).random((7, 1, 28, 28), np.float32)
    assert judge.features(x).shape == (7, 16)
    assert judge.classes(x).shape == (7,)


def test_models_of_other_data_are_refused(synthetic_store):
    model = ExportedModel.open(synthetic_store / "mnist-gan" / "1")
    with pytest.raises(EvaluationError, match="expected a model of mnist, found synthetic-images"):
        fid(model, None, 0)


def test_each_channel_of_stacked_digits_is_judged(synthetic_store, monkeypatch):
    monkeypatch.setattr(generation, "STACKED_SAMPLES", 40)
    monkeypatch.setattr(Judge, "classes", lambda judge, x: np.arange(len(x)) % 30 // 3)
    modes, divergence = stacked_modes(ExportedModel.open(synthetic_store / "stacked-mnist-gan" / "1"), None, 0)
    assert (modes.value, modes.size) == (10, 40)  # 000, 111 … 999, four of each
    assert divergence.value == pytest.approx(math.log(100))
    with pytest.raises(EvaluationError, match="expected images of 3 digits"):
        stacked_modes(ExportedModel.open(synthetic_store / "mnist-gan" / "1"), None, 0)


def test_a_model_of_few_steps_is_measured_in_each_number_of_them(monkeypatch):
    pixels, labels = synthetic_images(200, seed=0)
    monkeypatch.setattr(generation, "images", lambda *_: (pixels, labels))
    monkeypatch.setattr(generation, "SAMPLES", 60)
    monkeypatch.setattr(generation, "HELD_OUT", 100)
    figures = fid_in_steps(ExportedModel.open(EXPORTED / "mnist-consistency" / "1"), None, 0)
    assert [figure.metric for figure in figures] == [f"FID / floor in {n} steps" for n in (2, 3, 4)]
    assert [(figure.size, figure.note[:2]) for figure in figures] == [(60, f"{n} ") for n in (2, 3, 4)]
    assert len({figure.value for figure in figures}) == 3
    with pytest.raises(EvaluationError, match="expected a model of 2 to 8 steps, found 50"):
        fid_in_steps(ExportedModel.open(EXPORTED / "mnist-diffusion" / "1"), None, 0)


@pytest.mark.slow
@pytest.mark.skipif(not (EXPORTED / "mnist-features").is_dir(), reason="needs exported/mnist-features/1")
def test_the_shipped_generator_draws_what_is_asked_for(data_root):
    model = ExportedModel.open(EXPORTED / "mnist-gan" / "1")
    (figure,) = label_accuracy(model, data_root, 0)
    assert figure.size == 10_000
    assert figure.judge == judge_of(model).sha256
    assert figure.value >= 95
