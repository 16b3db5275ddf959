"""The two small selections find what sorting all distances finds."""

import pytest
import torch

from training.layers.closest import Closest


@pytest.mark.parametrize("count", [1, 3, 16, 17, 100, 1000, 1025, 20_001])
@pytest.mark.parametrize("k", [1, 3, 8])
def test_they_are_the_nearest_of_all(count, k):
    if k > count:
        with pytest.raises(ValueError, match=f"k: expected 1 to {count}, the number of points, found {k}"):
            Closest(torch.zeros(count, 2), k)
        return
    points, x = torch.randn(2, count + 50, 5, generator=torch.Generator().manual_seed(count))[:, :, :]
    points, x = points[:count], x[:50]
    expected = torch.cdist(x.double(), points.double()).square().sort(1).values[:, :k]
    found = Closest(points, k)(x)
    assert found.shape == (50, k, 5)
    assert (found.sum(2).sort(1).values - expected).abs().max() < 1e-4


def test_a_point_is_at_no_distance_from_itself():
    points = torch.randn(500, 30, generator=torch.Generator().manual_seed(0)) * 100
    assert Closest(points, 1)(points).abs().max() == 0


def test_points_that_are_there_several_times_count_several_times():
    points = torch.tensor([[0.0], [0.0], [0.0], [5.0]]).repeat(40, 1)
    assert Closest(points, 3)(torch.tensor([[1.0], [5.5]])).squeeze(2).tolist() == [[1, 1, 1], [0.25, 0.25, 0.25]]
