"""Who sits where: those that step side by side, then those that rest, then the prompt."""

import numpy as np
import pytest

from service.engine.batch import Lane, Work
from service.engine.held_rows import Rows
from service.engine.job import Sampling, SequenceCall
from service.engine.members import Members
from tests.service.engine.test_sequences import BIGRAM, CONTEXT

LANE = Lane("model", "next_token", 4, 4)


class Table:
    """Members whose prompts are computed at once; each row holds its owner's number as its first token."""

    def __init__(self, first: int = 0) -> None:
        self.first = first
        self.rows = Rows(BIGRAM, first, 6, CONTEXT)
        self.members = Members(self.rows, first)

    def prompt(self, owner: int, **more: object) -> Work:
        work = Work(owner, SequenceCall(np.array([owner, 1]), np.zeros(3), Sampling(), **more), LANE)  # type: ignore[arg-type]
        self.rows.begin(self.members.free, work.call, reuse=False)  # type: ignore[arg-type]
        self.members.prompt = work
        return work

    def join(self, owner: int, **more: object) -> Work:
        work = self.prompt(owner, **more)
        self.members.join()
        return work

    @property
    def seated(self) -> list[int]:
        """Owners from the first row on, by the works and by what the rows hold."""
        rows = range(self.first, self.members.free)
        owners = [self.members.work(row).owner for row in rows]
        assert owners == self.rows.tokens[list(rows), 0].tolist(), "a work and its row move together"
        return owners


@pytest.mark.parametrize("first", [0, 1])
def test_the_last_takes_the_place_of_who_leaves(first: int) -> None:
    table = Table(first)
    for owner in range(4):
        table.join(owner)
    assert table.members.leave(1) == first + 3
    assert table.seated == [0, 3, 2]
    assert table.members.leave(2) == first + 2
    assert table.seated == [0, 3]
    assert table.members.stepping == slice(first, first + 2)


def test_a_prompt_closes_up_behind_who_leaves() -> None:
    table = Table()
    for owner in range(3):
        table.join(owner)
    table.prompt(7)
    assert table.members.free == 3
    assert table.members.leave(0) == 3, "the row behind the prompt's"
    assert table.members.free == 2
    assert table.rows.tokens[2, 0] == 7
    table.members.join()
    assert table.seated == [2, 1, 7]


def test_a_prompt_that_is_given_up_frees_its_row() -> None:
    table = Table()
    table.join(0)
    table.prompt(7)
    assert table.members.leave(7) == 1
    assert table.members.prompt is None
    assert table.seated == [0]


def test_who_has_left_frees_nothing_more() -> None:
    table = Table()
    table.join(0)
    assert table.members.leave(5) == 1
    assert table.seated == [0]


def test_those_that_rest_are_behind_those_that_step() -> None:
    table = Table()
    works = [table.join(owner) for owner in range(4)]
    table.members.gather([works[1], works[3]])
    assert set(table.seated[:2]) == {1, 3}
    assert table.members.stepping == slice(0, 2)
    table.members.gather(works)
    assert table.members.stepping == slice(0, 4)
    assert set(table.seated) == {0, 1, 2, 3}


def test_what_a_step_has_to_know_follows_who_is_there() -> None:
    table = Table()
    members = table.members
    table.join(0)
    assert (members.giving, members.heard) == (False, False)
    table.join(1, listen=lambda token: False, given=np.array([4, 5, 6]))
    assert (members.giving, members.heard) == (True, True)
    assert [place for place, *_ in members.listeners(0, 2)] == [1]
    assert [place for place, *_ in members.listeners(1, 1)] == [0]
    table.join(2, end_token=9)
    members.leave(1)
    assert (members.giving, members.heard) == (False, True), "the end token may come"
    assert members.listeners(0, 2) == []
