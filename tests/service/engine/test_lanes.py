"""How much of a call goes into one batch: as many runs of the graph as are short together."""

from typing import Any

import numpy as np
import pytest

from contract import Capability
from service.engine.batch import Lane
from service.engine.job import RowCall
from service.engine.lanes import lane_of
from service.engine.limits import Limits
from service.engine.pace import Pace
from tests.service.engine.fake_models import FakeModel

LIMITS = Limits(rows=64, elements=10_000, runs_seconds=0.002, call_seconds=0.005, batch_seconds=0.1)


def empty(group: Any, lane: Lane) -> int:
    return 0


def lane(seconds_per_row: float | None, columns: int = 1) -> Lane:
    """The lane of a large call, where batches of 64 rows were measured to take so long; None where nothing was."""
    pace, call = Pace(), RowCall(Capability.DECODE, {"x": np.zeros((5000, columns))})
    if seconds_per_row is not None:
        for _ in range(3):
            pace.batch_ran(lane_of(FakeModel(), call, LIMITS, pace, empty, None), 64, 64 * seconds_per_row)
    return lane_of(FakeModel(), call, LIMITS, pace, empty, None)


def test_a_graph_that_was_never_measured_gets_one_run() -> None:
    assert lane(None).max_rows == lane(None).at_once == 64


@pytest.mark.parametrize("microseconds", [1, 4, 10])
def test_short_runs_make_one_batch_for_two_milliseconds(microseconds: int) -> None:
    where = lane(microseconds * 1e-6)
    assert where.at_once == 64
    assert where.max_rows % 64 == 0
    assert 0.002 - 64e-6 * microseconds < where.max_rows * microseconds * 1e-6 <= 0.002
    assert where.each == where.patient == where.max_rows


def test_a_long_run_is_a_batch_of_its_own_of_which_one_call_gets_its_part() -> None:
    where = lane(100e-6)
    assert where.max_rows == where.at_once == 64
    assert where.each == 50
    assert lane(0.01).max_rows == 10


def test_several_runs_together_are_within_the_memory_of_a_batch() -> None:
    assert lane(1e-6, columns=20).max_rows == 500


def test_limits_are_kept_while_they_hardly_change_and_follow_what_does() -> None:
    pace, call = Pace(), RowCall(Capability.DECODE, {"x": np.zeros((5000, 1))})

    def after(batches: int, microseconds: float) -> list[Lane]:
        found = []
        for _ in range(batches):
            found.append(lane_of(FakeModel(), call, LIMITS, pace, empty, None))
            pace.batch_ran(found[-1], 64, 64 * microseconds * 1e-6)
        return found

    settled = after(100, 10)[-16:]
    assert len({id(where) for where in settled}) <= 3
    assert settled[-1].max_rows == 192
    assert after(16, 100)[-1].max_rows == 64


def test_a_crowds_batch_has_as_many_rows_as_make_it_fast() -> None:
    """16 rows are as fast for each as 64, 8 are not, though two batches of 8 are faster than one of 16; before that is known
    a batch has whatever is there."""
    pace, call = Pace(), RowCall(Capability.DECODE, {"x": np.zeros((1, 1))})

    def where() -> Lane:
        return lane_of(FakeModel(), call, LIMITS, pace, empty, None)

    assert where().enough == where().few == 64
    for _ in range(3):
        for count, microseconds in ((64, 500), (32, 500), (16, 510), (8, 650)):
            pace.batch_ran(where(), count, count * microseconds * 1e-6)
    assert where().enough == 16
    assert where().few == 4, "which was not tried yet"
    pace.batch_ran(where(), 4, 4 * 800e-6)
    assert where().few == 8
    assert where().sizes == FakeModel().runner.sizes
