"""The order of jobs: by their ends if all shared evenly, so that nobody ends later than by sharing."""

import numpy as np
import pytest

from service.engine.sojourn import FairOrder


def fair_ends(arrivals: list[tuple[int, int]]) -> list[float]:
    """When each of jobs (arrival, rows) ends where all that are here share one row a turn evenly: the slow reference."""
    left, ends, now, part = {n: float(rows) for n, (_, rows) in enumerate(arrivals)}, [0.0] * len(arrivals), 0.0, 1 / 64
    while left:
        here = [n for n in left if arrivals[n][0] <= now]
        now += part
        for n in here:
            left[n] -= part / len(here)
            if left[n] <= 1e-9:
                ends[n] = now
                del left[n]
    return ends


def served_ends(arrivals: list[tuple[int, int]]) -> list[float]:
    """When each ends where the first in this order has all of the service."""
    order, left, ends, waiting = FairOrder(), {}, [0.0] * len(arrivals), list(range(len(arrivals)))
    for now in range(10_000):
        for n in [n for n in waiting if arrivals[n][0] <= now]:
            waiting.remove(n)
            left[n] = arrivals[n][1]
        if not left:
            if not waiting:
                return ends
            continue
        n = min(left, key=lambda n: order.end_of(arrivals[n], left[n]))
        left[n] -= 1
        order.ran(1)
        if not left[n]:
            ends[n] = now + 1.0
            order.served(arrivals[n])
            del left[n]
    raise AssertionError("they never end")


@pytest.mark.parametrize("seed", range(5))
def test_nobody_ends_later_than_by_sharing_and_on_average_they_end_earlier(seed: int) -> None:
    rng = np.random.default_rng(seed)
    arrivals = [(int(at), int(rng.integers(1, 30))) for at in np.cumsum(rng.integers(0, 16, 25))]
    fair, served = fair_ends(arrivals), served_ends(arrivals)
    assert all(own <= shared + 1.1 for own, shared in zip(served, fair, strict=True)), "but for a row that is not cut"
    assert sum(served) < sum(fair)


def test_a_job_keeps_its_place_from_call_to_call() -> None:
    order, owner, other = FairOrder(), object(), object()
    end = order.end_of(owner, 10)
    order.ran(4)
    assert order.end_of(owner, 6) == end
    assert order.end_of(other, 6) == end


def test_what_is_served_and_comes_again_is_a_new_one() -> None:
    order, owner = FairOrder(), object()
    assert order.end_of(owner, 3) == 3
    order.ran(3)
    order.served(owner)
    assert order.end_of(owner, 3) == 6
