"""What the engine knows of the outside: the model that it runs, the job's ticket, and who watches."""

import time
from collections.abc import Callable
from typing import Any, Protocol

from service.engine.batch import Batch, Lane
from service.engine.job import Job
from service.engine.pace import Pace
from service.engine.rows import RowRunner
from service.engine.sequence_parts import Sequences
from service.engine.sequences import Progress


class Model(Protocol):
    """What the engine needs of a model: `id` names it to people, `key` is never used by another."""

    @property
    def id(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def runners(self) -> dict[Any, RowRunner | Sequences]: ...
    def stop(self) -> None:
        """End what its graphs run; they run no more."""


class Observer(Protocol):
    """What the engine tells the metrics."""

    def waited(self, model: Any, seconds: float, trace: dict[str, str] | None) -> None: ...
    def batch(self, model: Any, batch: Batch, seconds: float, padding: int) -> None: ...
    def sequences(self, model: Any, batch: Batch, progress: Progress, seconds: float) -> None: ...
    def first_token(self, model: Any, seconds: float, trace: dict[str, str] | None) -> None: ...


class Ticket:
    """One job under way. `on_done(ticket)` is called once, on a worker's thread, when `result` or `error` is set; it is
    not called for a ticket that was cancelled.

    `pace` is its model's, known once it is taken in. `lane` is where the scheduler may still have something of it, None where
    it has nothing. `seconds` are its share of the batches so far. `since` is when it began to wait for a batch, None while it
    does not. `holders` counts the workers that have rows of the job in a batch, or advance it: its generator is closed by the
    last of them.
    """

    __slots__ = (
        "cancelled",
        "error",
        "group",
        "holders",
        "job",
        "lane",
        "model",
        "on_done",
        "pace",
        "priority",
        "result",
        "seconds",
        "since",
        "submitted",
        "trace",
        "work",
    )

    def __init__(
        self,
        model: Model,
        job: Job,
        work: float,
        priority: int,
        on_done: Callable[["Ticket"], None],
        group: Any = None,
        trace: dict[str, str] | None = None,
    ) -> None:
        self.model = model
        self.job = job
        self.work = work
        self.priority = priority
        self.on_done = on_done
        self.group = group
        self.trace = trace
        self.pace: Pace
        self.lane: Lane | None = None
        self.result: Any = None
        self.error: Exception | None = None
        self.cancelled = False
        self.holders = 0
        self.seconds = 0.0
        self.submitted = time.monotonic()
        self.since: float | None = self.submitted
