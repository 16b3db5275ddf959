"""Parts of a text graph's sequences: a lane each, side by side, and the same texts as in one."""

import threading
from collections.abc import Callable

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
    """Notes the rows of its steps; where there is a barrier, it steps only while another part does."""

    def __init__(self, slots: int, beside: threading.Barrier | None = None) -> None:
        super().__init__(SESSION, slots, CONTEXT, chunk=8, company=True)
        self.steps: list[int] = []
        self._beside = beside

    def run(self, batch: Batch, go_on: Callable[[], bool] = lambda: False) -> Progress:
        if batch.live:
            self.steps.append(batch.rows)
            if self._beside is not None and len(self.steps) == 1:
                self._beside.wait(20)
        return super().run(batch, go_on)


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
    parts = Spied(2, beside), Spied(2, beside)
    assert len(texts(SequenceParts(parts), 2, Book())) == 2
    assert [part.steps[0] for part in parts] == [1, 1]


@pytest.mark.parametrize(("rows", "expected"), [((0, 0, 0), 0), ((1, 0, 0), 1), ((2, 1, 1), 1), ((2, 2, 1), 2)])
def test_a_text_goes_to_the_part_that_has_fewest(rows: tuple[int, ...], expected: int) -> None:
    model = FakeModel("writer", SequenceParts([Spied(2), Spied(2), Spied(3)]))
    lane = lane_of(model, call(0), Limits(), Pace(), lambda lane: rows[lane.part])
    assert (lane.part, lane.slots) == (expected, (2, 2, 3)[expected])


def test_the_parts_are_one_runner_to_others() -> None:
    runner = SequenceParts([Spied(2), Spied(3)])
    assert (runner.slots, runner.context) == (5, CONTEXT)
    assert runner.bytes == sum(part.bytes for part in runner.parts) > 0
    runner.warm()
    model, lone = FakeModel("writer", runner), LoneCall(Capability.NEXT_TOKEN, {})
    assert lane_of(model, lone, Limits(), Pace(), lambda lane: 0) == Lane(
        "writer", (Capability.NEXT_TOKEN, LoneCall), 1
    )
