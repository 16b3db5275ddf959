"""Whatever a column's distribution, its ranks become normal, in order, and beyond the known values there is more to come."""

import pytest
import torch

from training.layers.rank_gaussian import RankGaussian


def fitted(x: torch.Tensor, **options: int) -> RankGaussian:
    ranks = RankGaussian(x.shape[1], **options)
    ranks.fit(x)
    return ranks


def skewed(number: int, seed: int = 0) -> torch.Tensor:
    x = torch.randn(number, 3, generator=torch.Generator().manual_seed(seed))
    return torch.stack([x[:, 0].exp(), x[:, 1] ** 3, x[:, 2]], 1)


def test_columns_become_normal():
    z = fitted(skewed(5000))(skewed(5000, 1))
    assert z.mean(0).abs().max() < 0.06
    assert (z.std(0) - 1).abs().max() < 0.06
    assert ((z < -1).float().mean(0) - 0.1587).abs().max() < 0.02


def test_order_is_kept_inside_and_beyond():
    x = torch.linspace(-500, 500, 5001)[:, None].expand(-1, 3)
    z = fitted(skewed(400))(x)
    assert (z.diff(dim=0) >= 0).all()
    slope_outside = (z[-1] - z[-2]) / (x[-1] - x[-2])
    assert torch.allclose(slope_outside, torch.ones(3), atol=1e-2)


def test_between_few_values_it_is_straight_and_equal_ones_share_a_rank():
    x = torch.tensor([0.0] * 50 + [1.0] * 25 + [2.0] * 25)[:, None]
    ranks = fitted(x)
    expected = torch.special.ndtri(torch.tensor([0.25, 0.625, 0.875]))
    found = ranks(torch.tensor([[0.0], [1.0], [2.0], [0.5]])).squeeze(1)
    assert torch.allclose(found[:3], expected, atol=1e-6)
    assert found[3] == pytest.approx((expected[0] + expected[1]).item() / 2)


def test_a_constant_column_is_where_it_is():
    ranks = fitted(torch.full((30, 1), 4.0))
    assert ranks(torch.tensor([[4.0], [5.0], [2.5]])).squeeze(1).tolist() == [0, 1, -1.5]


def test_it_can_be_fitted_anew():
    ranks = fitted(torch.randn(100, 2))
    ranks.fit(torch.full((30, 2), 4.0))
    assert ranks(torch.full((1, 2), 4.0)).tolist() == [[0, 0]]


def test_until_it_is_fitted_it_changes_nothing():
    x = skewed(10)
    assert torch.equal(RankGaussian(3)(x), x)
