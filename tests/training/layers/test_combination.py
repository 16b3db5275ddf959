"""Tails are the logarithms of held-out shares, go on beyond the rarest one, and the rarest statistic counts most."""

import math

import pytest
import torch

from training.layers.combination import TailLogProbability, rarity


@pytest.fixture(scope="module")
def tails() -> TailLogProbability:
    held_out = torch.randn(5000, 2, generator=torch.Generator().manual_seed(0))
    tails = TailLogProbability(2)
    tails.fit(torch.stack([held_out[:, 0], 1000 * held_out[:, 1] - 7], 1))
    return tails


def test_a_tail_is_the_logarithm_of_the_share_that_scores_as_low(tails):
    fresh = torch.randn(20_000, generator=torch.Generator().manual_seed(1))
    t = tails(torch.stack([fresh, 1000 * fresh - 7], 1))
    for share in (0.5, 0.1, 0.01):
        flagged = (t <= math.log(share)).float().mean(0)
        assert flagged.tolist() == pytest.approx([share, share], rel=0.25)


def test_it_is_at_most_nothing_and_falls_with_the_statistic_without_end(tails):
    s = torch.linspace(6, -60, 500)
    t = tails(torch.stack([s, 1000 * s - 7], 1))
    assert t.max() == 0
    assert (t.diff(dim=0) <= 1e-6).all()
    assert (t[300:].diff(dim=0) < 0).all()
    assert t[-1].max() < -50


def test_equal_held_out_scores_do_no_harm():
    tails = TailLogProbability(1)
    tails.fit(torch.cat([torch.zeros(90), torch.ones(10)])[:, None])
    found = tails(torch.tensor([[-1.0], [0.0], [1.0]]))
    assert torch.isfinite(found).all()
    assert found[0] < found[1] < found[2] + 1e-6


def test_the_length_counts_one_rare_statistic_more_than_two_less_rare_ones():
    one, two, none = rarity(torch.tensor([[-8.0, 0.0], [-4.0, -4.0], [0.0, 0.0]]))[:, 0].tolist()
    assert one == 8
    assert one > two > none == 0
