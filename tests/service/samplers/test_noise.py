"""Noise is a function of (seed, sample index, step) and of nothing else."""

import itertools

import numpy as np
import pytest

from service.samplers import noise


def test_a_sample_does_not_depend_on_how_many_are_drawn_with_it() -> None:
    together = noise.normal(seed=7, count=16, shape=(3, 4))
    for i in (0, 5, 15):
        alone = noise.normal(seed=7, count=1, shape=(3, 4), first=i)
        assert np.array_equal(together[i], alone[0])


def test_a_step_does_not_depend_on_the_steps_before_it() -> None:
    in_order = [noise.normal(1, 2, (5,), step) for step in range(4)]
    assert np.array_equal(noise.normal(1, 2, (5,), step=3), in_order[3])


def test_choices_do_not_depend_on_how_many_follow() -> None:
    assert np.array_equal(noise.uniform(3, 1, 100)[:10], noise.uniform(3, 1, 10))


def test_nothing_is_shared_between_calls() -> None:
    first = noise.normal(5, 4, (8,))
    noise.generator(5, 0).random(1000)
    np.random.seed(0)
    assert np.array_equal(noise.normal(5, 4, (8,)), first)


def test_seed_index_and_step_each_change_everything() -> None:
    streams = [
        noise.generator(seed, index, step).random(32)
        for seed, index, step in itertools.product((0, 1, 2**32, noise.MAX_SEED), (0, 1, 63), (0, 1, 1000))
    ]
    for a, b in itertools.combinations(streams, 2):
        assert not np.isin(a, b).any()


def test_neighbouring_seeds_are_uncorrelated() -> None:
    draws = np.stack([noise.normal(seed, 1, (4096,))[0] for seed in range(24)])
    correlation = np.corrcoef(draws) - np.eye(24)
    assert np.abs(correlation).max() < 5 / np.sqrt(4096)


def test_normal_noise_is_normal_and_uniform_numbers_are_uniform() -> None:
    x = np.sort(noise.normal(11, 64, (512,)).ravel())
    assert x.dtype == np.float32
    assert abs(x.mean()) < 0.02
    assert abs(x.std() - 1) < 0.02
    assert abs((np.abs(x) < 1).mean() - 0.6827) < 0.01
    u = np.sort(noise.uniform(11, 0, 20_000))
    assert u[0] >= 0
    assert u[-1] < 1
    assert np.abs(u - np.arange(20_000) / 20_000).max() < 0.02  # Kolmogorov's distance


def test_drawn_seeds_differ_and_are_allowed() -> None:
    seeds = {noise.draw_seed() for _ in range(50)}
    assert len(seeds) > 45
    assert all(0 <= seed <= noise.MAX_SEED for seed in seeds)


@pytest.mark.parametrize("seed", [0, noise.MAX_SEED])
def test_the_smallest_and_largest_seed_work(seed: int) -> None:
    assert np.isfinite(noise.normal(seed, 1, (4,))).all()
