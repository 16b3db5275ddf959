"""The density that both sides are held against is right."""

import numpy as np
import pytest

from benchmarks.density import directly


def test_one_point_is_a_normal_density() -> None:
    point, x, h = np.zeros((1, 3)), np.array([[0.3, -0.2, 0.5]]), 0.7
    expected = -0.5 * np.square(x[0] / h).sum() - 3 * np.log(h) - 1.5 * np.log(2 * np.pi)
    assert directly(point, h, x)[0] == pytest.approx(expected, abs=1e-12)


def test_it_integrates_to_one() -> None:
    points = np.array([[-1.0], [0.5], [2.0]])
    grid = np.linspace(-8, 8, 4001)[:, None]
    assert np.exp(directly(points, 0.4, grid)).sum() * (grid[1, 0] - grid[0, 0]) == pytest.approx(1, abs=1e-9)
