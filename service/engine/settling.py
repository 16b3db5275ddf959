"""What a batch gave, handed to the jobs that had a part in it."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from service.engine.admission import Admission
from service.engine.batch import Batch, Work
from service.engine.job import Arrays
from service.engine.jobs import Jobs
from service.engine.scheduler import Scheduler
from service.engine.sequences import Progress
from service.engine.ticket import Model, Observer

Outcome = tuple[Sequence[Arrays | Exception], int] | Progress | Exception
"""What a batch of rows gave, and how many rows were padding; what one of sequences did; or why it was not run to its end,
of which its runner knows nothing."""


class Settling:
    """Counts what batches took, and goes on with the jobs that have all they waited for."""

    def __init__(self, jobs: Jobs, scheduler: Scheduler, admission: Admission, observer: Observer | None) -> None:
        self._jobs = jobs
        self._lock = jobs.lock
        self._scheduler = scheduler
        self._admission = admission
        self._observer = observer

    def settle(self, batch: Batch, outcome: Outcome, seconds: float) -> None:
        """Go on with the jobs of a batch that has run for so long."""
        model = batch.works[0].owner.model
        if isinstance(outcome, Progress):
            self._steps(model, batch, outcome, seconds)
        elif isinstance(outcome, Exception):
            self._nothing(batch, outcome, seconds)
        else:
            self._rows(model, batch, *outcome, seconds)
        with self._lock:
            self._scheduler.finish(batch, seconds)

    def _steps(self, model: Model, batch: Batch, progress: Progress, seconds: float) -> None:
        if self._observer:
            self._observer.sequences(model, batch, progress, seconds)
            if progress.prompt_done and batch.prompt is not None:
                ticket = batch.prompt.owner
                self._observer.first_token(model, time.monotonic() - ticket.submitted, ticket.trace)
        with self._lock:
            for work in batch.works:
                self._jobs.charge(work, seconds / len(batch.works))
            if progress.prompt_done and batch.prompt is not None:
                self._scheduler.prompt_done(batch.prompt)
            for work, _ in progress.ended:
                self._scheduler.ended(work)
            over = [(work.owner, answer) for work, answer in progress.ended if self._jobs.hold_again(work.owner)]
        for ticket, answer in over:
            self._jobs.resume(ticket, answer)

    def _rows(
        self, model: Model, batch: Batch, answers: Sequence[Arrays | Exception], padding: int, seconds: float
    ) -> None:
        if self._observer:
            self._observer.batch(model, batch, seconds, padding)
        with self._lock:
            self._admission.pace(model).batch_ran(batch.lane, batch.rows, seconds, alone=batch.alone)
        self._collect(batch, answers, seconds)

    def _nothing(self, batch: Batch, error: Exception, seconds: float) -> None:
        self._collect(batch, [error] * len(batch.pieces), seconds)
        sequences = batch.works if not batch.pieces else []
        with self._lock:
            for work in sequences:
                self._scheduler.give_up(work)
            over = [work.owner for work in sequences if self._jobs.hold_again(work.owner)]
        for ticket in over:
            self._jobs.resume(ticket, error)

    def _collect(self, batch: Batch, answers: Sequence[Arrays | Exception], seconds: float) -> None:
        """Hand the answers of a batch's pieces to their jobs, and go on with those that have all of theirs."""
        rows = batch.rows
        over = []
        with self._lock:
            for piece, answer in zip(batch.pieces, answers, strict=True):
                self._jobs.charge(piece.work, seconds * (piece.stop - piece.start) / rows)
                if self._jobs.collect(piece, answer):
                    over.append(piece.work)
        for work in over:
            self._jobs.resume(work.owner, work.failed or (None if work.owner.cancelled else _joined(work)))


def _joined(work: Work) -> Any:
    """A call's answer from those of its pieces, in order."""
    if len(work.parts) == 1:
        return work.parts[0][1]
    parts = [outputs for _, outputs in sorted(work.parts, key=lambda part: part[0])]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
