"""The noise level is found in images of every kind, and none where there is none."""

import numpy as np
import pytest

from service.samplers.noise_level import estimate_sigma

RNG = np.random.default_rng(0)
HEIGHT, WIDTH = np.mgrid[0:64, 0:64] / 63.0
IMAGES = {
    "grey": np.full((64, 64), 0.5),
    "ramp": 0.2 + 0.6 * WIDTH * HEIGHT,
    "edges": np.where((HEIGHT - 0.5) ** 2 + (WIDTH - 0.5) ** 2 < 0.1, 0.8, 0.2),
    "stripes": 0.5 + 0.3 * np.sign(np.sin(8 * WIDTH)),
}


def noisy(image: np.ndarray, sigma: float, count: int = 4) -> np.ndarray:
    clean = np.broadcast_to(image, (count, 1, *image.shape))
    return (clean + sigma * np.random.default_rng(1).standard_normal(clean.shape)).astype(np.float32)


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("sigma", [0.02, 0.1, 0.5, 3.0])
def test_the_level_is_found(name: str, sigma: float) -> None:
    found = estimate_sigma(noisy(IMAGES[name], sigma))
    assert found.shape == (4,)
    assert found == pytest.approx(sigma, rel=0.08)


def digit() -> np.ndarray:
    """Strokes on black, 28 × 28: most of it is flat."""
    image = np.zeros((28, 28))
    image[4:24, 12:15] = 1.0
    image[20:23, 6:22] = 0.7
    return image


@pytest.mark.parametrize("sigma", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("levels", [0, 255], ids=["floats", "8 bits"])
def test_noise_that_a_file_cut_off_at_black_is_found(sigma: float, levels: int) -> None:
    cut = noisy(digit(), sigma, 32).clip(0, 1)
    stored = np.rint(cut * levels) / levels if levels else cut
    assert estimate_sigma(stored).mean() == pytest.approx(sigma, rel=0.15)
    assert estimate_sigma(noisy(digit(), sigma, 32)).mean() == pytest.approx(sigma, rel=0.15)


@pytest.mark.parametrize("image", [digit(), IMAGES["edges"], np.zeros((5, 5)), np.ones((2, 2))])
def test_there_is_none_in_a_clean_flat_image(image: np.ndarray) -> None:
    assert estimate_sigma(image[None, None]).tolist() == [0.0]


@pytest.mark.parametrize("sides", [(1, 1), (1, 9), (9, 1)])
def test_an_image_of_one_row_or_column_has_none_that_could_be_found(sides: tuple[int, int]) -> None:
    assert estimate_sigma(RNG.random((2, 1, *sides))).tolist() == [0.0, 0.0]


def test_each_image_has_its_own_over_all_channels() -> None:
    sigmas = np.array([0.05, 0.4])
    images = 0.5 + sigmas[:, None, None, None] * RNG.standard_normal((2, 3, 40, 40))
    found = estimate_sigma(images)
    assert found == pytest.approx(sigmas, rel=0.1)
    assert estimate_sigma(images[1:]).tolist() == found[1:].tolist()
