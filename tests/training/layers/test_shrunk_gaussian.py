"""The density is scikit-learn's and torch's, and its parts are what each column takes away."""

import pytest
import torch
from sklearn.covariance import LedoitWolf

from training.layers.shrunk_gaussian import ShrunkGaussian


def rows(number: int, columns: int, seed: int = 0) -> torch.Tensor:
    mix = torch.randn(columns, columns, generator=torch.Generator().manual_seed(1))
    return torch.randn(number, columns, generator=torch.Generator().manual_seed(seed)) @ mix + 10


@pytest.mark.parametrize(("number", "columns"), [(500, 12), (30, 60), (200, 1)])
def test_shrinkage_and_density_are_those_of_ledoit_and_wolf(number, columns):
    x, gaussian = rows(number, columns), ShrunkGaussian(columns)
    shrinkage = gaussian.fit(x)
    reference = LedoitWolf().fit(x.double().numpy())
    assert shrinkage == pytest.approx(reference.shrinkage_, abs=1e-6)
    covariance = torch.from_numpy(reference.covariance_)
    density = torch.distributions.MultivariateNormal(torch.from_numpy(reference.location_), covariance)
    y = rows(20, columns, seed=3)
    torch.testing.assert_close(gaussian(y).double(), density.log_prob(y.double()), rtol=1e-3, atol=1e-2)


def test_parts_are_not_negative_and_add_up_to_what_is_missing_from_the_maximum():
    gaussian = ShrunkGaussian(8)
    gaussian.fit(rows(300, 8))
    y = rows(10, 8, seed=2)
    parts = gaussian.parts(y)
    assert (parts >= 0).all()
    torch.testing.assert_close(parts.sum(1), gaussian(gaussian.mean[None]) - gaussian(y), rtol=1e-4, atol=1e-3)


def test_the_column_that_is_wrong_has_the_largest_part():
    gaussian = ShrunkGaussian(8)
    x = rows(300, 8)
    gaussian.fit(x)
    for column in range(8):
        y = x.mean(0, keepdim=True).clone()
        y[0, column] += 5 * x[:, column].std()
        assert int(gaussian.parts(y).argmax()) == column


def test_a_column_that_never_changes_does_no_harm():
    x = rows(100, 4)
    x[:, 2] = 1.0
    gaussian = ShrunkGaussian(4)
    gaussian.fit(x)
    assert torch.isfinite(gaussian(x)).all()
