"""Moments are those of the mass, and an image that was slanted, moved or stretched is set upright again."""

import pytest
import torch
import torch.nn.functional as F

from training.layers.upright import Moments, Upright


def block() -> torch.Tensor:
    """A soft upright block in the middle, (1, 1, 28, 28)."""
    x = torch.zeros(1, 1, 28, 28)
    x[:, :, 6:22, 10:18] = 1.0
    return F.avg_pool2d(x, 3, 1, 1)


def warped(x: torch.Tensor, slant: float, right: float) -> torch.Tensor:
    """Slanted by columns a row, moved by columns."""
    matrix = torch.tensor([[[1.0, -slant, -2 * right / 28], [0.0, 1.0, 0.0]]])
    return F.grid_sample(x, F.affine_grid(matrix, list(x.shape), align_corners=False), align_corners=False)


def test_moments_are_weighted_means():
    x = torch.rand(3, 1, 9, 7, generator=torch.Generator().manual_seed(0))
    found = Moments(9, 7)(x)
    rows, columns = torch.meshgrid(torch.arange(9) - 4.0, torch.arange(7) - 3.0, indexing="ij")
    for image, moments in zip(x[:, 0], found, strict=True):
        share = image / image.sum()
        row, column = (share * rows).sum(), (share * columns).sum()
        plain = [
            image.sum(),
            row,
            column,
            (share * (rows - row) ** 2).sum(),
            (share * (columns - column) ** 2).sum(),
            (share * (rows - row) * (columns - column)).sum(),
        ]
        torch.testing.assert_close(moments, torch.stack(plain), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("slant", "right"), [(0.4, 0.0), (-0.3, 2.0), (0.0, -3.0)])
def test_a_slanted_and_moved_image_becomes_what_the_upright_one_does(slant, right):
    moments, upright = Moments(28, 28), Upright(28, 28)
    x = block()
    spoilt = warped(x, slant, right)
    before = (spoilt - x).abs().mean()
    after = (upright(spoilt, moments(spoilt)) - upright(x, moments(x))).abs().mean()
    assert after < 0.25 * before


def test_the_usual_spread_is_that_of_the_images_it_was_fitted_to():
    moments, upright = Moments(28, 28), Upright(28, 28)
    x = block()
    upright.fit(moments(x))
    torch.testing.assert_close(upright(x, moments(x)), x, rtol=0, atol=1e-4)


def test_back_puts_values_where_they_came_from():
    moments, upright = Moments(28, 28), Upright(28, 28)
    x = warped(block(), 0.4, 2.0)
    back = upright.back(upright(x, moments(x)), moments(x))
    assert (back - x).abs().mean() < 0.05 * x.mean()


def test_an_image_without_ink_stays_finite():
    black = torch.zeros(1, 1, 28, 28)
    assert torch.isfinite(Upright(28, 28)(black, Moments(28, 28)(black))).all()
