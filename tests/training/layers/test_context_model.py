"""The grey levels' probabilities add up to one, look back only, and are learnt from what is counted."""

import math

import pytest
import torch

from training.layers.context_model import ContextModel


def images(number: int, seed: int) -> torch.Tensor:
    """Dark, with a bright soft block each: levels (B, 1, 12, 12)."""
    generator = torch.Generator().manual_seed(seed)
    levels = torch.zeros(number, 1, 12, 12)
    levels[:, :, 4:9, 3:8] = torch.randint(100, 256, (number, 1, 5, 5), generator=generator).float()
    return levels


@pytest.fixture(scope="module")
def model() -> ContextModel:
    model = ContextModel()
    model.fit([images(200, 0), images(100, 1)])
    return model


@pytest.mark.parametrize("place", [(0, 0), (5, 5), (8, 3), (11, 11)])
def test_the_probabilities_of_a_pixels_levels_add_up_to_one(model, place):
    levels = images(1, 2).repeat(256, 1, 1, 1)
    levels[:, 0, place[0], place[1]] = torch.arange(256.0)
    log_prob, _ = model(levels)
    assert log_prob[:, 0, place[0], place[1]].exp().sum() == pytest.approx(1, abs=1e-4)


def test_a_pixel_depends_on_those_before_it_alone(model):
    levels = images(1, 3)
    changed = levels.clone()
    changed[0, 0, 6, 5] = 255 - changed[0, 0, 6, 5]
    same = (model(levels)[0] == model(changed)[0]).flatten()
    assert same[: 6 * 12 + 5].all()
    assert not same.all()


def test_what_is_like_the_counted_images_is_likelier_than_chance_and_than_noise(model):
    noise = torch.randint(0, 256, (50, 1, 12, 12), generator=torch.Generator().manual_seed(4)).float()
    like, unlike = model(images(50, 5))[0].mean(), model(noise)[0].mean()
    assert like > unlike
    assert like > -math.log(256)


def test_the_excess_of_images_like_the_counted_ones_is_nothing_on_average(model):
    assert model(images(300, 6))[1].mean() == pytest.approx(0, abs=0.05)


def test_until_it_has_counted_it_says_that_all_levels_are_alike():
    log_prob, excess = ContextModel()(images(2, 0))
    torch.testing.assert_close(log_prob, torch.full_like(log_prob, -math.log(256)))
    torch.testing.assert_close(excess, torch.zeros_like(excess))
