"""Every corruption and every simple image is what its name says, in 256 grey levels, by its seed alone."""

import numpy as np
import pytest

from training.evaluation.corruptions import CORRUPTIONS, corrupted
from training.evaluation.simple_images import simple_images


@pytest.fixture
def x() -> np.ndarray:
    """A bright, asymmetric figure."""
    x = np.zeros((30, 1, 28, 28), np.float32)
    x[:, :, 6:22, 8:12] = 1
    x[:, :, 18:22, 8:20] = 1
    return x


def test_there_are_twelve(x):
    assert len(CORRUPTIONS) == 12


@pytest.mark.parametrize("name", list(CORRUPTIONS))
def test_every_image_is_changed_and_stays_an_image(x, name):
    changed = corrupted(name, x, seed=0)
    assert changed.shape == x.shape
    assert changed.dtype == np.float32
    assert 0 <= changed.min() <= changed.max() <= 1
    np.testing.assert_allclose((changed * 255).round() / 255, changed, atol=1e-6)
    assert (np.abs(changed - x).mean((1, 2, 3)) > 0.005).all()
    np.testing.assert_array_equal(changed, corrupted(name, x, seed=0))
    if name not in ("blur", "inverted"):
        assert len(np.unique(changed, axis=0)) > 0.5 * len(x)
        assert (changed != corrupted(name, x, seed=1)).any()


def test_corruptions_do_what_they_are_called(x):
    np.testing.assert_allclose(corrupted("inverted", x, 0), 1 - x, atol=1e-6)
    assert corrupted("shrink", x, 0).sum() < 0.6 * x.sum()
    assert corrupted("faint", x, 0).std() < 0.7 * x.std()
    assert np.abs(np.diff(corrupted("blur", x, 0))).max() < 0.5
    moved = corrupted("shift", x, 0).sum((1, 2)) @ np.arange(28) / corrupted("shift", x, 0).sum((1, 2, 3))
    still = x.sum((1, 2)) @ np.arange(28) / x.sum((1, 2, 3))
    assert (np.abs(moved - still) > 1).all()


def test_simple_images_take_turns():
    x = simple_images(40, 28, seed=0)
    assert x.shape == (40, 1, 28, 28)
    assert (x[0::4].std((1, 2, 3)) < 1e-6).all()  # greys
    assert ((x[1::4] > 0).sum((1, 2, 3)) <= 1).all()  # dots
    assert (x[2::4].max((1, 2, 3)) > 0.5).all()  # strokes
    assert all(len(np.unique(image)) <= 2 for image in x[3::4])  # halves
    np.testing.assert_array_equal(x, simple_images(40, 28, seed=0))
