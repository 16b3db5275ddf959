"""The service's engine without HTTP: a model from a directory, loaded and run as the service does, asked by this thread."""

import queue
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from service.engine.job import Job
from service.engine.loop import Engine
from service.engine.ticket import Ticket
from service.loading import load_model
from service.model import LoadedModel
from service.providers import find_device
from service.settings import Settings


@dataclass(frozen=True)
class Ended:
    """A job's result, and the seconds from its submission to its end."""

    result: Any
    seconds: float


class InProcess:
    """A model and an engine with the service's settings. Use as a context manager."""

    def __init__(self, directory: Path, settings: Settings | None = None) -> None:
        self.settings = settings or Settings(provider="cpu")
        device = find_device(self.settings.provider)
        self.model: LoadedModel = load_model(directory.resolve(), self.settings, device)
        pinned = self.settings.pin_workers and device == "cpu"
        self._engine = Engine(self.settings.workers, self.settings.limits, pinned=pinned)

    def __enter__(self) -> Self:
        self._engine.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.stop()

    def run(self, jobs: Sequence[tuple[Job, float]], concurrency: int | None = None) -> list[Ended]:
        """Submit jobs, each with its work: all at once, or the next one when one of so many has ended. Wait for all.

        Raises the first error.
        """
        ends: queue.SimpleQueue[tuple[Ticket, float]] = queue.SimpleQueue()
        places: dict[Ticket, tuple[int, float]] = {}
        waiting = iter(enumerate(jobs))

        def submit() -> None:
            for place, (job, work) in waiting:
                start = time.perf_counter()
                ticket = self._engine.submit(
                    self.model, job, work, lambda ended: ends.put((ended, time.perf_counter()))
                )
                places[ticket] = place, start
                return

        for _ in range(concurrency or len(jobs)):
            submit()
        found: list[Ended | None] = [None] * len(jobs)
        for _ in jobs:
            ticket, end = ends.get()
            if ticket.error is not None:
                raise ticket.error
            place, start = places[ticket]
            found[place] = Ended(ticket.result, end - start)
            submit()
        return [ended for ended in found if ended is not None]
