"""Measured rates become waiting times and batch sizes."""

import pytest

from service.engine.pace import Pace
from service.engine.scheduler import Lane

LANE = Lane("model", "shape", 64)


def served(pace: Pace, jobs: int, work: float, seconds: float) -> None:
    for _ in range(jobs):
        pace.backlog += work
        pace.batch_ran(LANE, int(work), seconds)
        pace.job_ended(work, served=True)


def test_nothing_is_promised_before_anything_was_measured() -> None:
    pace = Pace()
    pace.backlog = 1e6
    assert pace.wait_seconds(workers=1) == 0
    assert pace.rows_within(LANE, 0.1, most=64) == 64


def test_the_wait_is_the_backlog_at_the_measured_rate() -> None:
    pace = Pace()
    served(pace, jobs=50, work=4, seconds=2.0)  # half a second for each unit of work
    pace.backlog = 20
    assert pace.wait_seconds(workers=1) == pytest.approx(10, rel=0.05)
    assert pace.wait_seconds(workers=2) == pytest.approx(5, rel=0.05)


def test_the_wait_follows_a_model_that_becomes_slower() -> None:
    pace = Pace()
    served(pace, jobs=200, work=1, seconds=0.1)
    served(pace, jobs=200, work=1, seconds=1.0)
    pace.backlog = 1
    assert pace.wait_seconds(workers=1) > 0.9


def test_a_job_that_was_not_served_frees_its_place_and_says_nothing_of_the_rate() -> None:
    pace = Pace()
    served(pace, jobs=10, work=1, seconds=1.0)
    pace.backlog = 5
    before = pace.wait_seconds(1)
    pace.job_ended(4, served=False)
    assert pace.backlog == 1
    assert pace.wait_seconds(1) == pytest.approx(before / 5)


def test_the_backlog_does_not_go_below_nothing() -> None:
    pace = Pace()
    pace.job_ended(3, served=False)
    assert pace.backlog == 0


def test_slow_rows_make_small_batches_but_never_empty_ones() -> None:
    pace = Pace()
    pace.batch_ran(LANE, rows=4, seconds=0.08)  # 20 ms a row
    assert pace.rows_within(LANE, 0.1, most=64) == 5
    assert pace.rows_within(LANE, 0.1, most=3) == 3
    assert pace.rows_within(LANE, 0.001, most=64) == 1


def test_rates_are_kept_for_few_shapes_only() -> None:
    pace = Pace()
    for side in range(5000):
        pace.batch_ran(Lane("model", side, 64), rows=1, seconds=1.0)
    known = sum(pace.rows_within(Lane("model", side, 64), 1.5, most=64) == 1 for side in range(5000))
    assert 0 < known <= 1000
