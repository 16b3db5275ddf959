"""Flows of rows: a density that new rows have too, of which each column has its part."""

import pytest
import torch

from training.layers.flows import FOLDS, Flows


@pytest.fixture(scope="module")
def bent() -> torch.Tensor:
    u, noise = torch.randn(2, 1200, generator=torch.Generator().manual_seed(0))
    x = torch.stack([u, u * u + 0.3 * noise], 1)
    return (x - x.mean(0)) / x.std(0)


@pytest.fixture(scope="module")
def fitted(bent) -> tuple[Flows, torch.Tensor]:
    flows = Flows(2, layers=2)
    return flows.eval(), flows.fit(bent[:1000], 500, steps=150)


@torch.no_grad()
def test_rows_that_were_left_out_and_new_ones_are_as_likely_and_likelier_than_under_a_gaussian(fitted, bent):
    flows, left_out = fitted
    new = flows(bent[1000:])[0]
    assert float(left_out.mean()) == pytest.approx(float(new.mean()), abs=0.3)
    gaussian = torch.distributions.MultivariateNormal(torch.zeros(2), bent[:1000].T.cov())
    assert float(new.mean()) > float(gaussian.log_prob(bent[1000:]).mean()) + 0.2


@torch.no_grad()
def test_it_is_the_mean_of_densities_that_integrate_to_one(fitted):
    flows, _ = fitted
    axis = torch.linspace(-8, 8, 161)
    grid = torch.cartesian_prod(axis, axis)
    for flow in flows.flows:
        assert float(flow.log_prob(grid).exp().sum()) * 0.1**2 == pytest.approx(1, abs=0.03)
    some = grid[::1003]
    assert torch.allclose(flows(some)[0], sum(flow.log_prob(some) for flow in flows.flows) / FOLDS, atol=1e-5)


@torch.no_grad()
def test_each_column_has_its_latents_part():
    """Of flows that leave every column as it is, whatever their order, the part of a column is x^2 / 2."""
    x = torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    log_prob, parts = Flows(4).eval()(x)
    assert torch.allclose(parts, x.square() / 2)
    assert float(log_prob) == pytest.approx(-7 - 2 * torch.tensor(2 * torch.pi).log().item(), abs=1e-4)


def test_they_are_nobody_elses_to_train(fitted):
    assert not any(parameter.requires_grad for parameter in fitted[0].parameters())
