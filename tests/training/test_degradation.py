"""Each degradation takes away what it says, and the same generator takes away the same."""

import pytest
import torch

from contract.manifest import Restoration
from training.data.source import keyed
from training.degradation import degraded, holes

RESTORATIONS = [
    Restoration(degradation="noise"),
    Restoration(degradation="mask", fill=-1.0),
    Restoration(degradation="downscale", factor=2),
    Restoration(degradation="grey"),
]


def colours(size=16):
    return torch.rand(size, 3, 12, 20, generator=keyed(0))


@pytest.mark.parametrize("restoration", RESTORATIONS, ids=lambda r: r.degradation)
def test_the_generator_alone_decides(restoration):
    first, again, other = (degraded(colours(), restoration, (0.1, 0.5), keyed(key)) for key in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert torch.equal(first["x"], other["x"]) == (restoration.degradation in ("downscale", "grey"))


def test_noise_has_the_level_that_comes_along():
    x = torch.zeros(50, 1, 40, 40)
    given = degraded(x, RESTORATIONS[0], (0.2, 0.6), keyed(0))
    assert given["sigma"].min() >= 0.2
    assert given["sigma"].max() <= 0.6
    torch.testing.assert_close(given["x"].flatten(1).std(1), given["sigma"], rtol=0.1, atol=0)


def test_a_mask_keeps_what_it_does_not_hide():
    x = colours()
    spoilt = degraded(x, RESTORATIONS[1], None, keyed(0))["x"]
    hidden = holes(x, keyed(0)).expand_as(x)
    assert (spoilt[hidden] == -1).all()
    assert torch.equal(spoilt[~hidden], x[~hidden])


def test_holes_are_halves_or_rectangles_and_never_everything():
    hidden = holes(torch.zeros(2000, 1, 28, 28), keyed(3))[:, 0]
    rows, columns = hidden.all(2).sum(1), hidden.all(1).sum(1)  # whole rows, whole columns
    halves = (rows == 14) | (columns == 14)
    assert 0.2 < halves.float().mean() < 0.3
    share = hidden.flatten(1).float().mean(1)
    assert share.min() > 0
    assert share.max() < 0.8
    assert (hidden.float().mean(0) > 0.1).all()  # no place is always seen


def test_small_and_grey_images_are_means():
    x = colours()
    small = degraded(x, RESTORATIONS[2], None, keyed(0))["x"]
    assert small.shape == (16, 3, 6, 10)
    torch.testing.assert_close(small[0, 1, 2, 3], x[0, 1, 4:6, 6:8].mean())
    torch.testing.assert_close(
        degraded(x, RESTORATIONS[3], None, keyed(0))["x"][:, 0], (x[:, 0] + x[:, 1] + x[:, 2]) / 3
    )
