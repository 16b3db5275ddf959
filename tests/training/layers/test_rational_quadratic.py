"""The spline is monotone, its inverse undoes it, its slope is autograd's, and beyond its bound it is the identity."""

import pytest
import torch

from training.layers import rational_quadratic as spline

BINS, BOUND = 6, 3.0


@pytest.fixture
def knots():
    raw = 2 * torch.randn(40, spline.outputs(BINS), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return spline.knots(raw, BINS, BOUND)


def values(number=40):
    return 4 * (2 * torch.rand(number, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 1)


def test_inverse_undoes_forward(knots):
    y, _ = spline.forward(values(), knots)
    assert torch.allclose(spline.inverse(y, knots), values(), atol=1e-9)
    x = spline.inverse(values(), knots)
    assert torch.allclose(spline.forward(x, knots)[0], values(), atol=1e-9)


def test_the_slope_is_autograds(knots):
    x = values().requires_grad_()
    y, slope = spline.forward(x, knots)
    (expected,) = torch.autograd.grad(y.sum(), x)
    assert torch.allclose(slope, expected, atol=1e-9)
    assert slope.min() > 0


def test_knots_lie_on_the_spline_and_ascend(knots):
    inner = torch.stack([spline.forward(knots.x[:, k], knots)[0] for k in range(BINS + 1)], dim=1)
    assert torch.allclose(inner, knots.y, atol=1e-9)
    assert knots.x.diff().min() > 0
    assert knots.y.diff().min() > 0


def test_zeros_give_the_identity_and_so_does_what_lies_beyond(knots):
    identity = spline.knots(torch.zeros(40, spline.outputs(BINS), dtype=torch.float64), BINS, BOUND)
    y, slope = spline.forward(values(), identity)
    assert torch.allclose(y, values(), atol=1e-9)
    assert torch.allclose(slope, torch.ones_like(slope), atol=1e-9)
    far = torch.full((40,), 1e6, dtype=torch.float64)
    for x in (far, -far):
        assert torch.equal(spline.forward(x, knots)[0], x)
        assert torch.equal(spline.inverse(x, knots), x)
