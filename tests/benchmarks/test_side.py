"""A contender in a process of its own answers each question with one line, whatever else it prints, and ends with its block."""

import sys

import pytest

from benchmarks.side import Side


def test_questions_are_answered_in_order() -> None:
    with Side(sys.executable, "tests.benchmarks.doubler", 1) as side:
        assert [side(number=n)["found"] for n in (3, 20)] == [7, 41]


def test_a_process_that_ends_is_named() -> None:
    with (
        Side(sys.executable, "tests.benchmarks.doubler", "no number") as side,
        pytest.raises(RuntimeError, match="doubler"),
    ):
        side(number=1)
