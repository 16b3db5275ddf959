"""Who leaves workers to whom, by a clock of the test's."""

from dataclasses import dataclass

import pytest

from service.engine import yielding as module
from service.engine.limits import Limits
from service.engine.yielding import Yielding

LIMITS = Limits(calm_seconds=0.02, spare_seconds=0.1, patience_seconds=2.0)


@dataclass
class FakeJobs:
    interactive: int = 0
    interactive_until: float = 0.0
    spare_until: float = 0.0


class Clock:
    """Three workers at a time that the test chooses.

    It is the module's clock alone: an event loop that looked at it, in another thread, would wait for hours.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(module, "time", self)
        self.jobs = FakeJobs()
        self.rules = Yielding(self.jobs, LIMITS, workers=3)  # type: ignore[arg-type]

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_long_jobs_leave_a_worker_to_short_ones_for_a_while(clock: Clock) -> None:
    assert clock.rules.most_long() is None
    clock.jobs.spare_until = clock.now + 0.1
    assert clock.rules.most_long() == 2
    clock.now += 0.2
    assert clock.rules.most_long() is None


def test_one_worker_is_left_to_nobody(clock: Clock) -> None:
    clock.jobs.spare_until = clock.now + 0.1
    assert Yielding(clock.jobs, LIMITS, workers=1).most_long() is None  # type: ignore[arg-type]


def test_the_background_has_all_workers_where_nobody_waits(clock: Clock) -> None:
    assert clock.rules.calm()
    assert clock.rules.most_patient() is None
    assert not clock.rules.overdue()


def test_the_background_has_nothing_under_load_but_a_batch_now_and_then(clock: Clock) -> None:
    clock.jobs.interactive = 1
    assert not clock.rules.calm()
    assert clock.rules.most_patient() == 1
    clock.rules.patient_began()
    assert clock.rules.most_patient() == 0
    clock.now += 2.0
    assert clock.rules.most_patient() == 1
    assert not clock.rules.overdue()
    clock.now += 2.0
    assert clock.rules.overdue()
    clock.rules.patient_began()
    assert not clock.rules.overdue()


def test_the_background_leaves_one_worker_just_after_the_load(clock: Clock) -> None:
    clock.rules.patient_began()
    clock.jobs.interactive_until = clock.now
    assert clock.rules.most_patient() == 0, "the next request may come at once"
    clock.now += 0.05
    assert clock.rules.most_patient() == 2
    clock.now += 0.1
    assert clock.rules.most_patient() is None
