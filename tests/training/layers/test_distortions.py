"""Distorted images stay images, each change does what its name says, and the generator alone decides."""

import pytest
import torch

from training.layers.distortions import Distortions


@pytest.fixture
def square() -> torch.Tensor:
    x = torch.zeros(64, 1, 28, 28)
    x[:, :, 8:20, 8:20] = 1.0
    return x


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_without_changes_an_image_stays_as_it_is(square):
    torch.testing.assert_close(Distortions()(square, seeded()), square)


@pytest.mark.parametrize("change", ["turn", "scale", "stretch", "shear", "shift", "bend", "bold", "hide"])
def test_each_change_changes_every_image_in_its_own_way_and_leaves_its_range(square, change):
    size = {"turn": 20.0, "hide": 0.9}.get(change, 0.3)
    changed = Distortions(**{change: size})(square, seeded())
    assert changed.shape == square.shape
    assert changed.dtype == torch.float32
    assert changed.min() >= 0
    assert changed.max() <= 1 + 1e-5
    differs = (changed != square).flatten(1).any(1).float().mean()
    assert differs > (0.2 if change == "hide" else 0.95)
    assert len(torch.unique(changed.round(decimals=4), dim=0)) > 0.2 * len(square)


def test_the_generator_alone_decides(square):
    everything = Distortions(turn=10, scale=0.2, shear=0.1, shift=0.1, bend=0.02, bold=0.5, hide=0.3)
    torch.manual_seed(1)
    first = everything(square, seeded(7))
    torch.manual_seed(2)
    assert torch.equal(first, everything(square, seeded(7)))
    assert not torch.equal(first, everything(square, seeded(8)))


def test_training_in_low_precision_distorts_as_precisely(square):
    turned = Distortions(turn=20)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(turned(square, seeded()), turned(square, seeded()))
        low = turned(square, seeded())
    assert torch.equal(low, turned(square, seeded()))


def test_an_image_is_moved_by_at_most_its_share_of_the_side(square):
    moved = Distortions(shift=0.1)(square, seeded())
    columns = torch.arange(28.0)
    centres = (moved.sum((1, 2)) * columns).sum(1) / moved.sum((1, 2, 3))
    offsets = centres - 13.5
    assert offsets.abs().max() <= 2.8 + 1e-3
    assert offsets.abs().max() > 2.0


def test_bolder_strokes_have_more_ink_and_thinner_ones_less(square):
    ink = Distortions(bold=1.0)(square, seeded()).sum((1, 2, 3))
    assert ink.min() < 144 < ink.max()
    assert ink.max() <= 14**2 + 1e-3
    assert ink.min() >= 10**2 - 1e-3


def test_what_is_hidden_is_a_square_of_zeros():
    changed = Distortions(hide=0.5)(torch.ones(256, 1, 28, 28), seeded())
    hidden = changed[:, 0] == 0
    torch.testing.assert_close(changed, (~hidden[:, None]).float())
    tall, wide = hidden.any(2).sum(1), hidden.any(1).sum(1)
    assert torch.equal(hidden.sum((1, 2)), tall * wide)
    assert max(tall.max(), wide.max()) <= 15
