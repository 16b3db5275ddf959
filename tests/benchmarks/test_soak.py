"""Memory is compared from the time on when the queue was full, and never from the end only."""

from benchmarks.soak import Course

MEMORY = [float(i) for i in range(20)]


def course(full_at: int) -> Course:
    return Course(MEMORY, [10.0 * min(i, full_at) for i in range(20)])


def test_what_a_full_queue_takes_is_no_leak() -> None:
    assert course(full_at=8).warm() == MEMORY[8:]


def test_the_beginning_never_counts() -> None:
    assert course(full_at=1).warm() == MEMORY[4:]


def test_a_queue_that_is_full_late_excuses_nothing() -> None:
    assert course(full_at=15).warm() == MEMORY[4:]
