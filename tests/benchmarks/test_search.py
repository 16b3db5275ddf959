"""The best of many settings is found though single trials mislead, and most trials are of those that are close."""

from collections import Counter

import numpy as np

from benchmarks.search import FEW, TURNS, best


def test_a_disturbed_trial_decides_nothing() -> None:
    """The best one is at a third of its rate once, and the worst one triples it once: in the middle of the trials."""
    rates = {"best": iter([100, 100, 33, 100, 100]), "worst": iter([80, 80, 240, 80, 80])}
    assert best({name: lambda own=own: next(own) for name, own in rates.items()}) == "best"


def test_the_best_of_many_is_found_in_noise_and_few_have_all_the_turns() -> None:
    rng, tried = np.random.default_rng(0), Counter[int]()

    def trial(setting: int) -> float:
        tried[setting] += 1
        return 100 * 1.2**setting * rng.uniform(0.95, 1.05)

    for _ in range(20):
        tried.clear()
        assert best({setting: lambda setting=setting: trial(setting) for setting in range(12)}) == 11
        assert sorted(tried.values()) == [1] * 6 + [2] * 3 + [TURNS] * FEW


def test_one_that_is_alone_is_the_best() -> None:
    assert best({"only": lambda: 0.0}, turns=1) == "only"
