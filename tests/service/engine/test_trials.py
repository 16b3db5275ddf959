"""The fastest of a few ways is found, kept, and left where another becomes faster."""

import pytest

from service.engine.trials import _AGAIN, Trials


def taken(trials: Trials, seconds: list[float], times: int) -> list[int]:
    """Which ways were taken, where each takes so long."""
    ways = []
    for _ in range(times):
        ways.append(trials.next())
        trials.took(ways[-1], seconds[ways[-1]])
    return ways


@pytest.mark.parametrize("seconds", [[1.0], [2.0, 1.0], [1.0, 2.0], [3.0, 1.0, 2.0, 4.0]])
def test_all_are_tried_and_the_fastest_is_kept(seconds: list[float]) -> None:
    trials, best = Trials(len(seconds)), seconds.index(min(seconds))
    assert set(taken(trials, seconds, 5 * len(seconds))) == set(range(len(seconds)))
    assert taken(trials, seconds, 4 * _AGAIN).count(best) >= 4 * _AGAIN * 0.99


def test_every_way_is_tried_again_and_taken_where_it_has_become_faster() -> None:
    trials = Trials(3)
    taken(trials, [1.0, 2.0, 3.0], 100)
    assert taken(trials, [1.0, 2.0, 0.5], 2 * _AGAIN - 100)[-49:] == [2] * 49


def test_a_way_that_is_slow_at_first_is_tried_until_it_is_not() -> None:
    trials, awake = Trials(2), 0
    seconds = []
    for _ in range(2 * _AGAIN):
        way = trials.next()
        awake = awake + 1 if way else 0
        seconds.append((1.0, 1.5 if awake < 2 else 0.5)[way])
        trials.took(way, seconds[-1])
    assert seconds.count(0.5) >= 2 * _AGAIN - 12


def test_one_slow_time_does_not_end_the_use_of_the_fastest() -> None:
    trials = Trials(2)
    taken(trials, [1.0, 1.5], 60)
    trials.took(0, 2.0)
    assert trials.next() == 0
