"""Measured rates become waiting times and batch sizes."""

import math

import pytest

from service.engine.batch import BACKGROUND, Lane
from service.engine.pace import Pace

LANE = Lane("model", "shape", 64)


def served(pace: Pace, jobs: int, work: float, seconds: float) -> None:
    for _ in range(jobs):
        pace.job_came(work)
        pace.job_had(seconds)
        pace.job_ended(work, seconds, served=True)


def test_nothing_is_promised_before_anything_was_measured() -> None:
    pace = Pace()
    pace.job_came(1e6)
    assert pace.seconds_left() == 0
    assert pace.rows_within(LANE, 0.1, most=64) == 64


def test_the_wait_is_the_backlog_at_the_measured_rate() -> None:
    pace = Pace()
    served(pace, jobs=50, work=4, seconds=2.0)  # half a second for each unit of work
    pace.job_came(20)
    assert pace.seconds_left() == pytest.approx(10)


def test_the_wait_follows_a_model_that_becomes_slower() -> None:
    pace = Pace()
    served(pace, jobs=200, work=1, seconds=0.1)
    served(pace, jobs=200, work=1, seconds=1.0)
    pace.job_came(1)
    assert pace.seconds_left() > 0.9


def test_the_time_that_a_large_job_had_is_no_rate_for_small_ones_beside_it() -> None:
    pace = Pace()
    served(pace, jobs=50, work=1, seconds=0.001)
    pace.job_came(1000)
    assert pace.seconds_left() == pytest.approx(1.0)
    for _ in range(500):
        pace.job_had(0.001)
        served(pace, jobs=1, work=1, seconds=0.001)
    assert pace.seconds_left() == pytest.approx(0.5)


def test_a_job_that_was_not_served_frees_its_place_and_says_nothing_of_the_rate() -> None:
    pace = Pace()
    served(pace, jobs=10, work=1, seconds=1.0)
    for work in (4, 1):
        pace.job_came(work)
    pace.job_had(3.0)
    assert (pace.jobs, pace.seconds_left()) == (2, pytest.approx(2))
    pace.job_ended(4, 3.0, served=False)
    assert (pace.jobs, pace.seconds_left()) == (1, pytest.approx(1))


def test_a_job_that_takes_longer_than_was_thought_owes_nothing() -> None:
    pace = Pace()
    served(pace, jobs=10, work=1, seconds=1.0)
    pace.job_came(1)
    pace.job_had(60.0)
    assert pace.seconds_left() == 0


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


class TestSizes:
    def learn(self, seconds_per_row: dict[int, float], batches: int = 60) -> list[int]:
        """The batch sizes that are run where as many rows wait as are allowed."""
        pace, sizes = Pace(), []
        for _ in range(batches):
            rows = pace.rows_within(LANE, 1e9, most=64)
            size = next(size for size in seconds_per_row if size >= rows)
            pace.batch_ran(LANE, rows, rows * seconds_per_row[size])
            sizes.append(rows)
            pace.batch_ran(LANE, 1 + len(sizes) % 8, (1 + len(sizes) % 8) * seconds_per_row[8])  # quieter moments
        return sizes

    def test_batches_that_fit_into_no_cache_are_left(self) -> None:
        sizes = self.learn({8: 1.2e-3, 16: 1.3e-3, 32: 2.5e-3, 64: 3e-3})
        assert sizes[0] == 64
        assert set(sizes[-30:]) == {16}

    def test_where_larger_ones_are_no_slower_they_stay(self) -> None:
        assert set(self.learn({8: 1e-3, 16: 0.9e-3, 32: 0.8e-3, 64: 0.85e-3})) == {64}

    def test_what_was_slow_once_is_tried_again(self) -> None:
        pace = Pace()
        pace.batch_ran(LANE, 8, 8e-3)
        pace.batch_ran(LANE, 64, 1.0)
        assert pace.rows_within(LANE, 1e9, most=64) == 32
        for _ in range(1000):
            pace.batch_ran(LANE, 8, 8e-3)
        assert pace.rows_within(LANE, 1e9, most=64) == 64


class TestQuickest:
    """How long a batch takes where nothing disturbs it."""

    def test_nothing_is_known_before_anything_was_measured(self) -> None:
        assert Pace().quickest(LANE, 1) == math.inf

    def test_one_undisturbed_batch_tells_and_disturbed_ones_are_believed_by_and_by(self) -> None:
        pace = Pace()
        pace.batch_ran(LANE, 8, 5e-3)
        pace.batch_ran(LANE, 8, 1e-4)
        assert pace.quickest(LANE, 8) == pytest.approx(1e-4)
        for _ in range(10):
            pace.batch_ran(LANE, 8, 5e-3)
        assert pace.quickest(LANE, 8) < 1.1e-4
        for _ in range(2000):
            pace.batch_ran(LANE, 8, 5e-3)
        assert pace.quickest(LANE, 8) == pytest.approx(5e-3)

    def test_other_sizes_bound_what_was_not_measured(self) -> None:
        pace = Pace()
        pace.batch_ran(LANE, 4, 1e-4)
        assert pace.quickest(LANE, 1) == pytest.approx(1e-4), "no more than a larger one"
        assert pace.quickest(LANE, 16) == pytest.approx(4e-4), "no more than several smaller ones"


class TestKnee:
    """The smallest batch whose rows are about as fast as any: ms of a batch by its rows."""

    def settled(self, milliseconds: dict[int, float], alone: bool = False) -> list[int]:
        """The sizes that are tried one after another."""
        pace, tried = Pace(), []
        for _ in range(12):
            tried.append(pace.knee(LANE, 16, slower=1.1))
            pace.batch_ran(LANE, tried[-1], milliseconds[tried[-1]] / 1e3, alone=alone)
        return tried

    def test_smaller_ones_are_tried_until_they_are_slower_for_a_row(self) -> None:
        tried = self.settled({16: 16, 8: 8, 4: 4.1, 2: 3, 1: 2.5})
        assert tried[:5] == [16, 8, 4, 2, 4]
        assert set(tried[4:]) == {4}

    def test_where_one_row_is_as_fast_it_is_alone(self) -> None:
        assert self.settled({16: 16, 8: 8, 4: 4, 2: 2, 1: 1})[-1] == 1

    def test_those_that_had_all_cores_say_nothing(self) -> None:
        assert set(self.settled({16: 16, 8: 1, 4: 1, 2: 1, 1: 1}, alone=True)) == {16}


def test_background_work_is_before_background_work_only() -> None:
    pace = Pace()
    served(pace, jobs=50, work=4, seconds=2.0)
    pace.job_came(20)
    pace.job_came(100, BACKGROUND)
    pace.job_had(5.0, BACKGROUND)
    assert pace.seconds_left() == pytest.approx(10)
    assert pace.seconds_left(BACKGROUND) == pytest.approx(55)
    pace.job_ended(20, 0.0, served=False)
    assert pace.seconds_left() == 0
    assert pace.seconds_left(BACKGROUND) == pytest.approx(45)
