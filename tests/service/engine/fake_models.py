"""Models without a graph for the engine's tests, and a book of how their jobs ended."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from contract import Capability
from service.engine.batch import Batch
from service.engine.job import Job, RowCall
from service.engine.limits import Limits
from service.engine.loop import Engine
from service.engine.rows import RowRunner
from service.engine.ticket import Ticket


class Doubler(RowRunner):
    """Rows in, twice the rows out, in batches of any size. A row below zero makes its batch raise; `gate` holds batches back
    while closed."""

    def __init__(self, max_rows: int = 64) -> None:
        self.sizes = tuple(range(1, max_rows + 1))
        self.gate = threading.Event()
        self.gate.set()
        self.running = threading.Event()
        self.seconds_per_row = 0.0
        self.batches: list[list[float]] = []

    def run(self, batch: Batch) -> tuple[list[dict[str, np.ndarray]], int]:
        self.running.set()
        assert self.gate.wait(20), "a test left the gate closed"
        pieces = [p.work.call.inputs["x"][p.start : p.stop] for p in batch.pieces]
        self.batches.append(np.concatenate(pieces)[:, 0].tolist())
        time.sleep(self.seconds_per_row * batch.rows)
        if any((piece < 0).any() for piece in pieces):
            raise RuntimeError("a row is below zero")
        return [{"y": 2 * piece} for piece in pieces], 0


@dataclass(eq=False)
class FakeModel:
    """A model of one capability."""

    id: str = "fake"
    runner: Any = field(default_factory=Doubler)
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def key(self) -> str:
        return self.id

    @property
    def runners(self) -> dict[Any, Any]:
        return dict.fromkeys(Capability, self.runner)

    def stop(self) -> None:
        self.stopped.set()


@dataclass
class Book:
    """Counts how often each job ended, and waits for the ends. `done` is an engine's on_done."""

    ends: list[Ticket] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def done(self, ticket: Ticket) -> None:
        with self._changed:
            self.ends.append(ticket)
            self._changed.notify_all()

    def wait(self, count: int, seconds: float = 20) -> list[Ticket]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.ends) >= count, seconds), f"{len(self.ends)} of {count}"
        return self.ends


def call(*values: float) -> RowCall:
    return RowCall(Capability.DECODE, {"x": np.array(values, np.float64)[:, None]})


def doubling(*values: float) -> Job:
    """One call; returns the doubled values as a list."""
    answer = yield call(*values)
    return answer["y"][:, 0].tolist()


def repeated(value: float, times: int) -> Job:
    """Doubles a value again and again; returns the last."""
    for _ in range(times):
        answer = yield call(value)
        value = float(answer["y"][0, 0])
    return value


@dataclass
class Watched:
    """A job whose closing can be seen."""

    closed: bool = False

    def job(self, times: int = 1) -> Job:
        try:
            yield from repeated(1.0, times)
        finally:
            self.closed = True


@contextmanager
def running(**options: Any) -> Iterator[Engine]:
    """An engine that is stopped at the end of the block."""
    names = {field.name for field in fields(Limits)}
    limits = Limits(**{name: options.pop(name) for name in names & options.keys()})
    engine = Engine(options.pop("workers", 2), limits, **options)
    engine.start()
    yield engine
    engine.stop()
