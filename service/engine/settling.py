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
from service.engine.ticket import Observer, Ticket

Outcome = tuple[Sequence[Arrays | Exception], int] | Progress | Exception
"""What a batch of rows gave, and how many rows were padding; what one of sequences did; or why it was not run to its end,
of which its runner knows nothing."""


Answers = list[tuple[Ticket, Any]]
"""What jobs are to be told, or what went wrong with them."""


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
        if isinstance(outcome, Progress):
            answers = self._steps(batch, outcome, seconds)
        elif isinstance(outcome, Exception):
            answers = self._nothing(batch, outcome, seconds)
        else:
            answers = self._rows(batch, *outcome, seconds)
        self._jobs.resume(answers, lambda: self._scheduler.finish(batch, seconds))

    def _steps(self, batch: Batch, progress: Progress, seconds: float) -> Answers:
        model = batch.model
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
            return [(work.owner, answer) for work, answer in progress.ended if self._jobs.hold_again(work.owner)]

    def _rows(self, batch: Batch, outputs: Sequence[Arrays | Exception], padding: int, seconds: float) -> Answers:
        model = batch.model
        if self._observer:
            self._observer.batch(model, batch, seconds, padding)
        with self._lock:
            self._admission.pace(model).batch_ran(batch.lane, batch.rows, seconds, alone=batch.alone)
            return self._collected(batch, outputs, seconds)

    def _nothing(self, batch: Batch, error: Exception, seconds: float) -> Answers:
        with self._lock:
            answers = self._collected(batch, [error] * len(batch.pieces), seconds)
            for work in batch.works if not batch.pieces else ():
                self._scheduler.give_up(work)
                if self._jobs.hold_again(work.owner):
                    answers.append((work.owner, error))
        return answers

    def _collected(self, batch: Batch, outputs: Sequence[Arrays | Exception], seconds: float) -> Answers:
        """Keep what came of a batch's pieces; asked with the lock held. Returns the answers of the jobs that have all of
        theirs."""
        answers: Answers = []
        for piece, output in zip(batch.pieces, outputs, strict=True):
            work = piece.work
            self._jobs.charge(work, seconds * (piece.stop - piece.start) / batch.rows)
            if self._jobs.collect(piece, output):
                answers.append((work.owner, work.failed or (None if work.owner.cancelled else _joined(work))))
        return answers


def _joined(work: Work) -> Any:
    """A call's answer from those of its pieces, in order."""
    if len(work.parts) == 1:
        return work.parts[0][1]
    parts = [outputs for _, outputs in sorted(work.parts, key=lambda part: part[0])]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
