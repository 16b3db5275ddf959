"""The fastest of a few ways is found, kept, and left where another becomes faster."""

import threading

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
    trials.took(0, 9.0)
    assert trials.next() == 0


def test_a_machine_that_becomes_slow_is_no_reason_to_leave_the_fastest() -> None:
    trials = Trials(2)
    taken(trials, [1.0, 1.5], 60)
    slow = taken(trials, [2.0, 3.0], 2 * _AGAIN)
    assert slow.count(1) <= 9  # a trial or two for the change, and those that come now and then


def test_a_way_that_becomes_slow_is_left_at_once() -> None:
    trials = Trials(2)
    taken(trials, [1.0, 1.5], 60)
    assert taken(trials, [2.0, 1.5], 60)[-40:] == [1] * 40


def test_what_is_far_slower_is_tried_more_and_more_seldom() -> None:
    trials = Trials(2)
    taken(trials, [1.0, 5.0], 60)
    assert taken(trials, [1.0, 5.0], 60 * _AGAIN).count(1) <= 3 * 7
    assert taken(trials, [1.0, 0.5], 40 * _AGAIN)[-_AGAIN:].count(1) >= _AGAIN - 6
    close = taken(trials, [0.55, 0.5], 40 * _AGAIN)[-8 * _AGAIN :]
    assert 3 * 7 <= close.count(0) <= 3 * 9, "and as often as before once they are close"


def test_what_ends_after_a_trial_began_is_no_part_of_it() -> None:
    trials = Trials(2)
    taken(trials, [1.0, 1.5], 60)
    while trials.next() == 0:
        trials.took(0, 1.0)
    for _ in range(9):
        trials.took(0, 1.0)
    assert trials.next() == 1


def test_ways_that_hardly_differ_are_not_changed_all_the_time() -> None:
    trials = Trials(2)
    taken(trials, [1.0, 1.5], 60)
    assert taken(trials, [1.0, 0.98], 3 * _AGAIN).count(1) <= 9


def test_threads_may_take_ways_at_the_same_time() -> None:
    trials = Trials(3)

    def take() -> None:
        for _ in range(5 * _AGAIN):
            way = trials.next()
            trials.took(way, [2.0, 1.0, 3.0][way])

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken(trials, [2.0, 1.0, 3.0], 10).count(1) >= 7


def test_what_a_third_way_took_long_ago_says_nothing() -> None:
    trials = Trials(3)
    taken(trials, [1.0, 1.5, 1.2], 60)
    slow = taken(trials, [2.0, 3.0, 2.4], 60)
    assert slow[-20:] == [0] * 20
