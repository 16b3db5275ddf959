"""Parts of a text graph's sequences: a lane each, side by side, and the same texts as in one."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from contract import Capability
from service.engine.batch import Batch, Lane
from service.engine.job import Job, LoneCall, Sampling, SequenceCall
from service.engine.lanes import lane_of
from service.engine.limits import Limits
from service.engine.pace import Pace
from service.engine.sequence_parts import SequenceParts
from service.engine.sequences import Progress, SequenceRunner
from tests.service.engine.fake_models import Book, FakeModel, running
from tests.service.engine.test_sequences import CONTEXT, POISON, SESSION


class Spied(SequenceRunner):
    """Notes the rows of its steps and how many tokens of prompts were computed; waits before its first step."""

    def __init__(self, slots: int, wait: Callable[[float], Any] = lambda seconds: None) -> None:
        super().__init__(SESSION, slots, CONTEXT, chunk=8, company=True)
        self.steps: list[int] = []
        self.computed = self.reused = 0  # tokens of prompts
        self._wait = wait

    def run(self, batch: Batch, go_on: Callable[[], bool] = lambda: False) -> Progress:
        if batch.live:
            self.steps.append(batch.rows)
            if len(self.steps) == 1:
                self._wait(20)
        progress = super().run(batch, go_on)
        self.computed += progress.prompt_tokens
        self.reused += progress.reused_tokens
        return progress


def call(number: int, tokens: int = 12) -> SequenceCall:
    rng = np.random.default_rng(number)
    sampling = Sampling(temperature=float(number % 2))
    return SequenceCall(rng.integers(0, POISON, 1 + number % 9), rng.random(tokens), sampling)


def text(number: int) -> Job:
    """The number, and the tokens."""
    ids = yield call(number)
    return number, ids.tolist()


def texts(runner: SequenceRunner | SequenceParts, count: int, book: Book) -> dict[int, list[int]]:
    """What so many jobs wrote, all there at once, on two workers."""
    model = FakeModel("writer", runner)
    with running(workers=2) as engine:
        for number in range(count):
            engine.submit(model, text(number), 12, book.done)
        return dict(ticket.result for ticket in book.wait(count))


def test_texts_are_the_same_in_one_part_and_in_two() -> None:
    parts = Spied(4), Spied(4)
    assert texts(SequenceParts(parts), 30, Book()) == texts(
        SequenceRunner(SESSION, 8, CONTEXT, company=True), 30, Book()
    )
    assert all(part.steps for part in parts)


def test_parts_step_beside_each_other() -> None:
    """Each waits in its first step until the other one is in its own: one after the other they would wait for ever."""
    beside = threading.Barrier(2)
    parts = Spied(2, beside.wait), Spied(2, beside.wait)
    assert len(texts(SequenceParts(parts), 2, Book())) == 2
    assert [part.steps[0] for part in parts] == [1, 1]


SYSTEM = np.random.default_rng(7).integers(0, POISON, 8)


def behind_system(number: int) -> Job:
    """A text behind a beginning that all of them have."""
    own = call(number)
    ids = yield replace(own, prompt=np.concatenate([SYSTEM, [1, 2, 3], own.prompt]))
    return number, ids.tolist()


def test_a_beginning_is_taken_over_from_another_part() -> None:
    gate, book = threading.Event(), Book()
    parts = Spied(2, gate.wait), Spied(2)
    model = FakeModel("writer", SequenceParts(parts))
    with running(workers=2) as engine:
        engine.submit(model, behind_system(0), 1, book.done)
        wait_until(lambda: parts[0].steps)  # its prompt is computed, and the next text goes to the other part
        engine.submit(model, behind_system(1), 1, book.done)
        (other,) = book.wait(1)
        gate.set()
        book.wait(2)
    assert parts[1].reused == len(SYSTEM) + 3
    assert other.result == (1, texts_behind_system(Spied(2), [1])[1])


def test_texts_with_one_beginning_are_the_same_wherever_they_are_written() -> None:
    """A crowd, so that parts take over from each other while rows are begun, moved and written to."""
    numbers = [n % 20 for n in range(60)]
    parts = Spied(4), Spied(4)
    assert texts_behind_system(SequenceParts(parts), numbers) == texts_behind_system(Spied(1), list(range(20)))
    assert sum(part.computed for part in parts) < sum(part.reused for part in parts)


def texts_behind_system(runner: SequenceRunner | SequenceParts, numbers: list[int]) -> dict[int, list[int]]:
    model, book = FakeModel("writer", runner), Book()
    with running(workers=2) as engine:
        for number in numbers:
            engine.submit(model, behind_system(number), 1, book.done)
        return dict(ticket.result for ticket in book.wait(len(numbers)))


def test_a_group_computes_its_prompt_once() -> None:
    parts, book, group = (Spied(8), Spied(8)), Book(), object()
    model = FakeModel("writer", SequenceParts(parts))
    with running(workers=2) as engine:
        for _ in range(3):
            engine.submit(model, behind_system(0), 1, book.done, group=group)
        book.wait(3)
    assert sum(part.computed for part in parts) == len(SYSTEM) + 3 + 1 + 2 * 2, "and two tokens of each other one"
    assert sorted(bool(part.steps) for part in parts) == [False, True]


@pytest.mark.parametrize(("rows", "expected"), [((0, 0, 0), 0), ((1, 0, 0), 1), ((2, 1, 1), 1), ((2, 2, 1), 2)])
def test_a_text_goes_to_the_part_that_has_fewest(rows: tuple[int, ...], expected: int) -> None:
    model = FakeModel("writer", SequenceParts([Spied(2), Spied(2), Spied(3)]))
    lane = lane_of(model, call(0), Limits(), Pace(), lambda group, lane: rows[lane.part], None)
    assert (lane.part, lane.slots) == (expected, (2, 2, 3)[expected])


def wait_until(condition: Callable[[], Any]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.001)


def test_the_parts_are_one_runner_to_others() -> None:
    runner = SequenceParts([Spied(2), Spied(3)])
    assert (runner.slots, runner.context) == (5, CONTEXT)
    assert runner.bytes == sum(part.bytes for part in runner.parts) > 0
    runner.warm()
    model, lone = FakeModel("writer", runner), LoneCall(Capability.NEXT_TOKEN, {})
    assert lane_of(model, lone, Limits(), Pace(), lambda group, lane: 0, None) == Lane(
        "writer", (Capability.NEXT_TOKEN, LoneCall), 1
    )
