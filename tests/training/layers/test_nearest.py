"""Distances are the plain ones, and prototypes lie where the points do."""

import pytest
import torch

from training.layers.nearest import Nearest, prototypes
from training.layers.whitened_nearest import WhitenedNearest


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_distance_is_the_mean_of_those_to_the_nearest():
    points, x = torch.randn(200, 6, generator=seeded()) + 50, torch.randn(9, 6, generator=seeded(1)) + 50
    nearest = Nearest(6, 200, 5)
    nearest.fit(points)
    plain = torch.cdist(x.double(), points.double()).sort(1).values[:, :5]
    torch.testing.assert_close(nearest(x).double(), -plain.mean(1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(nearest.parts(x).sum(1).double(), plain.square().mean(1), rtol=1e-4, atol=1e-4)


def test_the_column_that_is_wrong_has_the_largest_part():
    points = torch.randn(200, 6, generator=seeded())
    nearest = Nearest(6, 200, 3)
    nearest.fit(points)
    x = points[:1].clone()
    x[0, 4] += 9
    assert int(nearest.parts(x).argmax()) == 4


@pytest.mark.parametrize("k", [0, 11])
def test_k_must_be_a_number_of_points(k):
    with pytest.raises(ValueError, match="k: expected 1 to 10"):
        Nearest(3, 10, k)


def test_prototypes_of_clusters_are_their_centres():
    centres = torch.tensor([[0.0, 0.0], [20.0, 0.0], [0.0, 20.0]])
    x = centres.repeat_interleave(100, 0) + 0.1 * torch.randn(300, 2, generator=seeded())
    found = prototypes(x, 40, seeded(1))
    assert torch.cdist(found, centres).amin(1).max() < 1
    assert torch.cdist(centres, found).amin(1).max() < 0.1


def test_few_points_are_their_own_prototypes():
    x = torch.randn(20, 3, generator=seeded())
    assert len(prototypes(x, 50, seeded())) == 20


def test_in_the_whitened_space_each_direction_has_its_own_unit():
    x = torch.randn(500, 5, generator=seeded()) * torch.tensor([100.0, 1, 1, 1, 1])
    module = WhitenedNearest(5, 5, 500, 1)
    module.fit(x, 0.0, seeded())
    far = x[:1].repeat(2, 1)
    far[0, 0] += 1000
    far[1, 1] += 1000
    distances, parts = module(far)
    assert distances[1] < 10 * distances[0] < 0
    torch.testing.assert_close(parts.sum(1), distances.square(), rtol=1e-3, atol=1e-3)
    assert parts.argmax(1).tolist() == [0, 1]


def test_more_points_than_rows_are_refused():
    with pytest.raises(ValueError, match="points: expected at most as many as there are rows, 10, found 20"):
        WhitenedNearest(4, 4, 20, 1).fit(torch.randn(10, 4, generator=seeded()), 0.1, seeded())
