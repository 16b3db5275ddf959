"""Between two latents: the arc keeps the length, and the ends are the seeds' own."""

from itertools import pairwise

import numpy as np
import pytest

from service.samplers import noise
from service.samplers.latents import path, slerp

A, B = (noise.normal(seed, 1, (3, 5))[0] for seed in (1, 2))


def angle(a: np.ndarray, b: np.ndarray) -> float:
    p, q = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    return float(np.arccos(p @ q / np.linalg.norm(p) / np.linalg.norm(q)))


def test_the_ends_are_exact() -> None:
    assert np.array_equal(slerp(A, B, 0.0), A)
    assert np.allclose(slerp(A, B, 1.0), B, atol=1e-6)


def test_the_arc_is_walked_at_even_speed() -> None:
    p, q = A / np.linalg.norm(A), B / np.linalg.norm(B)
    points = [slerp(p, q, t) for t in np.linspace(0, 1, 9)]
    assert np.allclose([np.linalg.norm(x) for x in points], 1, atol=1e-6)
    assert np.allclose([angle(a, b) for a, b in pairwise(points)], angle(p, q) / 8, atol=1e-4)


@pytest.mark.parametrize("other", [A, 2 * A])
def test_one_direction_is_a_straight_line(other: np.ndarray) -> None:
    assert np.allclose(slerp(A, other, 0.25), 0.75 * A + 0.25 * other, atol=1e-6)


@pytest.mark.parametrize(("seeds", "n"), [((1, 2), 2), ((1, 2), 7), ((5, 1, 9), 3), ((5, 1, 9), 8), ((4, 4), 3)])
def test_a_path_begins_and_ends_with_the_seeds_own_noise(seeds: tuple[int, ...], n: int) -> None:
    rows = path(seeds, n, (4, 4), step=3)
    assert rows.shape == (n, 4, 4)
    assert rows.dtype == np.float32
    for row, seed in ((rows[0], seeds[0]), (rows[-1], seeds[-1])):
        assert np.array_equal(row, noise.normal(seed, 1, (4, 4), step=3)[0])
    if (n - 1) % (len(seeds) - 1) == 0:
        for k, seed in enumerate(seeds):
            at = k * (n - 1) // (len(seeds) - 1)
            assert np.array_equal(rows[at], noise.normal(seed, 1, (4, 4), step=3)[0])


def test_what_lies_between_is_as_long_as_noise() -> None:
    lengths = np.linalg.norm(path((1, 2, 3), 21, (28, 28)).reshape(21, -1), axis=1)
    assert np.abs(lengths / 28 - 1).max() < 0.1
