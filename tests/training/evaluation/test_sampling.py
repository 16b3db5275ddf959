"""Samples for evaluation are those that the service draws, whatever the number of threads, and their cost is counted."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.toys import directories
from training.evaluate import EvaluationError, ExportedModel
from training.evaluation import sampling
from training.evaluation.sampling import draw


def toy(store: Path, name: str) -> ExportedModel:
    return ExportedModel.open(store / name / "1")


def test_what_is_drawn_depends_on_the_seed_and_the_labels_alone(store, monkeypatch):
    model = toy(store, directories.GENERATOR)
    monkeypatch.setattr(sampling, "CHUNK", 8)
    labels = np.arange(20) % 10
    drawn = draw(model, 20, 3, labels)
    sampling._draw.cache_clear()
    torch.set_num_threads(2)
    again = draw(model, 20, 3, labels)
    assert drawn.x.shape == (20, 1, 8, 8)
    assert drawn.evaluations == 1
    np.testing.assert_array_equal(drawn.labels, labels)
    np.testing.assert_array_equal(drawn.x, again.x)
    assert not np.array_equal(drawn.x, draw(model, 20, 4, labels).x)
    assert len(np.unique(drawn.x.round(6), axis=0)) == 20  # no chunk repeats another
    changed = draw(model, 20, 3, (labels + (np.arange(20) == 5)) % 10)
    differs = (changed.x != drawn.x).reshape(20, -1).any(1)
    np.testing.assert_array_equal(np.flatnonzero(differs), [5])


def test_pixels_are_drawn_one_evaluation_each(store):
    drawn = draw(toy(store, directories.PIXELS), 3, 0, np.arange(3))
    assert drawn.x.shape == (3, 1, 8, 8)
    assert drawn.labels is None
    assert drawn.evaluations == 64
    assert set(np.unique(drawn.x * (directories.LEVELS - 1)).round(5)) <= {0, 1, 2, 3}


def test_a_model_that_draws_nothing_is_refused(store):
    with pytest.raises(EvaluationError, match="photo-denoiser: expected a model that generates images, found denoise"):
        draw(toy(store, directories.DENOISER), 1, 0)
