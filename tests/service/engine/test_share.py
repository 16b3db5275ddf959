"""Shares: a model's weight is its part of the time under load, and its bounds are its own."""

import gc
import weakref

import numpy as np
import pytest

from contract import Capability
from service.engine.batch import Lane, Work
from service.engine.job import RowCall
from service.engine.scheduler import Scheduler
from service.engine.share import Share
from service.errors import Overloaded
from tests.eventually import eventually
from tests.service.engine.fake_models import Book, FakeModel, doubling, running


def rows(queue: str, count: int) -> Work:
    call = RowCall(Capability.DECODE, {"x": np.zeros((count, 1))})
    return Work(object(), call, Lane(queue, "shape", 8))


@pytest.mark.parametrize("weight", [0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("cost", [1.0, 7.0])
def test_under_saturation_time_is_shared_by_weight(weight: float, cost: float) -> None:
    scheduler = Scheduler()
    scheduler.add(rows("light", 10**6), 1.0)
    scheduler.add(rows("heavy", 10**6), weight)
    seconds = {"light": 0.0, "heavy": 0.0}
    for _ in range(2000):
        batch = scheduler.next_batch()
        assert batch is not None
        spent = cost if batch.lane.queue == "heavy" else 1.0
        seconds[batch.lane.queue] += spent
        scheduler.finish(batch, spent)
    assert seconds["heavy"] / seconds["light"] == pytest.approx(weight, rel=0.05)


def test_the_engine_gives_models_their_weights() -> None:
    """One worker, two models whose batches take equally long: a heavy one has three batches for one of the light one."""
    book, light, heavy = Book(), FakeModel("light"), FakeModel("heavy")
    for model in (light, heavy):
        model.runner.sizes = (1,)
        model.runner.seconds_per_row = 0.004
    light.runner.gate.clear()
    with running(workers=1, shares={"heavy": Share(weight=3.0)}) as engine:
        for _ in range(40):
            for model in (light, heavy):
                engine.submit(model, doubling(1.0), 1.0, book.done)
        light.runner.gate.set()
        ends = [ticket.model.id for ticket in book.wait(80)]
    at = max(i for i, name in enumerate(ends) if name == "heavy")
    assert ends[: at + 1].count("light") < 30, "13 where every batch takes equally long, 40 without weights"


def test_a_model_s_own_bounds_refuse_with_a_time_to_come_back() -> None:
    book, small, other = Book(), FakeModel("small"), FakeModel("other")
    small.runner.gate.clear()
    with running(shares={"small": Share(queue_requests=2)}) as engine:
        for _ in range(2):
            engine.admit(small)
            engine.submit(small, doubling(1.0), 1.0, book.done)
        with pytest.raises(Overloaded, match="2 of them for it") as caught:
            engine.admit(small)
        assert int(caught.value.headers()["retry-after"]) >= 1
        engine.admit(other)
        small.runner.gate.set()
        book.wait(2)
        engine.admit(small)


def test_a_model_s_own_seconds_bound_the_work_before_a_request() -> None:
    book, model = Book(), FakeModel("small")
    model.runner.seconds_per_row = 0.02
    with running(workers=1, queue_seconds=1000, shares={"small": Share(queue_seconds=0.5)}) as engine:
        for _ in range(3):
            engine.submit(model, doubling(1.0), 1.0, book.done)
        book.wait(3)
        model.runner.gate.clear()
        engine.submit(model, doubling(1.0), 1e4, book.done)
        with pytest.raises(Overloaded):
            engine.admit(model)
        model.runner.gate.set()
        book.wait(4)


def test_what_is_kept_about_a_model_goes_with_it() -> None:
    with running(shares={}) as engine:
        for number in range(8):
            book, model = Book(), FakeModel(f"model {number}")
            engine.submit(model, doubling(1.0), 1.0, book.done)
            book.wait(1)
            gone = weakref.ref(model)
            del model, book

            def is_gone(gone: weakref.ref = gone) -> bool:
                gc.collect()
                return gone() is None

            eventually(is_gone)
        assert len(engine._admission._pace) <= 2
        assert len(engine._scheduler._queues) <= 2
