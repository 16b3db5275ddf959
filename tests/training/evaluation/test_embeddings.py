"""Probes find classes that an embedding separates, and the shipped models keep their bars."""

from pathlib import Path

import numpy as np
import pytest

from training.data.images import synthetic_images
from training.evaluate import EvaluationError, ExportedModel
from training.evaluation import embeddings
from training.evaluation.embeddings import accuracy, knn_probe, linear_probe

EXPORTED = Path(__file__).parents[3] / "exported"


@pytest.fixture
def squares(monkeypatch):
    """Synthetic images in the place of MNIST."""
    monkeypatch.setattr(embeddings, "images", lambda name, split, root: synthetic_images(200, seed=len(split)))


@pytest.mark.parametrize("probe", [linear_probe, knn_probe])
def test_a_random_networks_features_separate_squares(probe, synthetic_store, squares):
    (figure,) = probe(ExportedModel.open(synthetic_store / "mnist-features" / "1"), None, 0)
    assert figure.value > 90
    assert figure.size == 200
    assert "16 frozen features" in figure.note


def test_a_random_networks_own_classes_are_a_guess(synthetic_store, squares):
    model = ExportedModel.open(synthetic_store / "mnist-features" / "1")
    (figure,) = accuracy(model, None, 0)
    x, labels = embeddings._digits("test", None)
    logits = model.run("encode", {"x": x}, "logits")
    assert figure.value == pytest.approx(100 * np.mean(logits.argmax(1) == labels))


def test_a_model_that_does_not_classify_has_no_accuracy(synthetic_store, squares):
    with pytest.raises(EvaluationError, match="mnist-contrastive: its encode has no logits to measure"):
        accuracy(ExportedModel.open(synthetic_store / "mnist-contrastive" / "1"), None, 0)


@pytest.mark.slow
def test_the_shipped_judge_is_right(data_root):
    directory = EXPORTED / "mnist-features" / "1"
    if not directory.is_dir():
        pytest.skip("needs exported/mnist-features/1")
    (figure,) = accuracy(ExportedModel.open(directory), data_root, 0)
    assert figure.value >= 99.3
