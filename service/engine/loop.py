"""The loop: schedule, run, advance — on a few threads beside the event loop.

The life of a request: a task makes a job; `submit` takes it in; a worker starts the generator and gives its call to the
scheduler; batches run; the generator is sent its rows and asks for more, or returns; the ticket's owner is told.

A batch that fails is run again piece by piece, so that one bad input fails alone. One that hangs is ended, and its model
runs no more; where it cannot be ended, another thread takes the place of the one that is lost with it.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from service.engine.admission import Admission
from service.engine.batch import INTERACTIVE, Batch, Work
from service.engine.job import Arrays, Job
from service.engine.jobs import Jobs
from service.engine.limits import Limits
from service.engine.rows import RowRunner
from service.engine.scheduler import Scheduler
from service.engine.sequences import Progress, SequenceRunner
from service.engine.share import Share
from service.engine.ticket import Model, Observer, Ticket
from service.engine.watchdog import Run, Watchdog
from service.errors import ModelFailed, NotReady

log = logging.getLogger("amostra.engine")
LIMITS = Limits()


Outcome = tuple[Sequence[Arrays | Exception], int] | Progress | Exception
"""What a batch of rows gave, and how many rows were padding; what one of sequences did; or why it was not run to its end,
of which its runner knows nothing."""


class Engine:
    """Runs the jobs of all models on `workers` threads, within `limits`.

    `queue_seconds` bounds the work that may stand before a new request, `queue_requests` the number of jobs under way, and
    `shares` may say something else for a model, by its id. A batch that takes longer than `hang_seconds`, and far longer
    than is known of its like, hangs: `on_hang(model, why)` is told, on a thread of the engine's, and is to be brief.
    """

    def __init__(
        self,
        workers: int,
        limits: Limits = LIMITS,
        *,
        queue_seconds: float = 30.0,
        queue_requests: int = 1024,
        hang_seconds: float = 60.0,
        shares: Mapping[str, Share] | None = None,
        observer: Observer | None = None,
        on_hang: Callable[[Model, str], None] = lambda model, why: None,
    ) -> None:
        self._workers = workers
        self._limits = limits
        self._observer = observer
        self._on_hang = on_hang
        self._scheduler = Scheduler(workers)
        self._admission = Admission(workers, queue_seconds, queue_requests, shares or {}, self._scheduler.forget)
        self._jobs = Jobs(limits, self._scheduler, self._admission, observer)
        self._changed = self._jobs.changed
        self._watchdog = Watchdog(hang_seconds, self._hangs, self._lose)
        self._threads: set[threading.Thread] = set()
        self._lost: list[threading.Thread] = []
        self._patient_next = 0.0

    def start(self) -> None:
        """Start the workers."""
        for _ in range(self._workers):
            self._add_worker()
        self._watchdog.start()

    def _add_worker(self) -> None:
        thread = threading.Thread(target=self._work, name="amostra-worker", daemon=True)
        thread.start()
        self._threads.add(thread)

    def stop(self) -> None:
        """Stop the workers after the batches in flight, but for those that take long; what still waits ends with an
        error."""
        with self._changed:
            self._jobs.closed = True
            self._changed.notify_all()
        self._watchdog.stop()
        until = time.monotonic() + self._limits.stop_seconds
        for thread in list(self._threads):
            thread.join(max(0.0, until - time.monotonic()))
        for ticket in list(self._jobs.live):
            self._jobs.end(ticket, error=NotReady("the service is stopping: send the request again"))
        for run in self._watchdog.under_way():
            run.model.stop()

    def admit(self, model: Model, priority: int = INTERACTIVE) -> None:
        """Raise Overloaded where a model's queue is full, with the time to come back."""
        self._admission.admit(model, len(self._jobs.live), priority)

    def submit(
        self,
        model: Model,
        job: Job,
        work: float,
        on_done: Callable[[Ticket], None],
        priority: int = INTERACTIVE,
        group: Any = None,
        trace: dict[str, str] | None = None,
        here: bool = False,
    ) -> Ticket:
        """Take a job in. `work` is its cost in the model's own unit: rows, pixels or tokens. The jobs of a `group`
        share what one job alone would get where sequences wait for a slot; `trace` names the request to an observer.
        `here` allows to run it on this very thread, before this returns, where it is short and alone."""
        ticket = Ticket(model, job, work, priority, on_done, group, trace)
        if self._jobs.take_in(ticket, here=here):
            self._help(ticket)
        return ticket

    def _help(self, ticket: Ticket) -> None:
        """Do what a worker would do, until this job has ended or turns out to be longer than was thought."""
        until = time.monotonic() + self._limits.here_seconds
        while ticket in self._jobs.live and time.monotonic() < until:
            with self._changed:
                found = self._take(0)
            if found is None or not self._do(found):
                break
        with self._changed:
            if self._more():
                self._changed.notify()

    def cancel(self, ticket: Ticket) -> None:
        """Give a job up: what waits is forgotten, what runs is not used. Safe at any time, more than once."""
        self._jobs.cancel(ticket)

    def wait_seconds(self, model: Model) -> float:
        """How long the work before a new request will take, by the measured rate."""
        return self._admission.wait_seconds(model)

    def expected_seconds(self, model: Model, work: float) -> float:
        """How long it will take until a job of so much work has its result, by the measured rate; what is not known counts
        nothing."""
        own = self._admission.pace(model).seconds_for(work)
        return self.wait_seconds(model) + (own if own < math.inf else 0.0)

    def waiting_rows(self, model: Model) -> int:
        """Rows that are in no batch yet."""
        with self._changed:
            return self._scheduler.waiting_rows(model.key)

    def calm(self) -> bool:
        """Whether nobody has waited for an answer for a while: the time of background jobs."""
        quiet = time.monotonic() - self._jobs.interactive_until
        return not self._jobs.interactive and quiet >= self._limits.calm_seconds

    @property
    def live(self) -> int:
        """Jobs taken in and not ended."""
        return len(self._jobs.live)

    @property
    def lost(self) -> int:
        """Threads that hang in a graph, and keep a core busy each."""
        return sum(thread.is_alive() for thread in self._lost)

    def _work(self) -> None:
        while True:
            with self._changed:
                while (found := self._take(self._most_patient())) is None:
                    if self._jobs.closed:
                        return
                    # What is held back for a moment is looked at again.
                    held_back = self._scheduler.runnable()
                    self._changed.wait(self._limits.calm_seconds if held_back else None)
                if self._more():
                    self._changed.notify()  # pass the baton: there is more than one worker's worth
            if not self._do(found):
                return

    def _more(self) -> bool:
        """Whether _take would find something; asked with the lock held."""
        return self._jobs.arrived() or self._scheduler.runnable(self._most_long(), self._most_patient())

    def _most_long(self) -> int | None:
        """How many workers long jobs may have now; None for all."""
        return self._workers - 1 if self._workers > 1 and time.monotonic() < self._jobs.spare_until else None

    def _most_patient(self) -> int | None:
        """How many workers background jobs may have now; None for all."""
        now = time.monotonic()
        busy = not self.calm()
        if now >= self._patient_next:
            return 1 if busy else None
        if busy:
            return 0
        return self._workers - 1 if now < self._jobs.interactive_until + self._limits.spare_seconds else None

    def _take(self, most_patient: int | None) -> Ticket | Batch | None:
        """A job to start, or a batch to run; this thread holds its tickets from here on."""
        if self._jobs.closed:
            return None
        arrival = self._jobs.next_arrival()
        if arrival is not None:
            return arrival
        batch = self._scheduler.next_batch(self._most_long(), most_patient)
        if batch is not None:
            self._jobs.hold(batch)
            if batch.patient:
                self._patient_next = time.monotonic() + self._limits.patience_seconds
        return batch

    def _do(self, found: Ticket | Batch) -> bool:
        """Start a job, or run a batch and go on with its jobs. False where a batch took so long that this thread was
        replaced meanwhile."""
        if isinstance(found, Ticket):
            self._jobs.start(found)
            return True
        model = found.works[0].owner.model
        if model.key in self._jobs.hung:
            self._settle(found, ModelFailed("it hangs"), 0.0)
            return True
        runner = model.runners[found.works[0].call.capability]
        with self._changed:
            expected = self._admission.pace(model).seconds_of(found.lane, found.rows)
        run = self._watchdog.begin(found, model, expected)
        start = time.monotonic()
        outcome = (
            runner.run_each(found) if found.pieces or isinstance(runner, RowRunner) else self._run_steps(found, runner)
        )
        if not self._watchdog.end(run):
            return False
        self._settle(found, outcome, time.monotonic() - start)
        return True

    def _run_steps(self, batch: Batch, runner: SequenceRunner) -> Outcome:
        with self._changed:
            others, seen = batch.one_step or self._more(), self._scheduler.changes
        until = time.monotonic() + self._limits.step_seconds

        def go_on() -> bool:
            undisturbed = self._scheduler.changes == seen and not self._jobs.arrived()
            return undisturbed and not others and time.monotonic() < until

        try:
            return runner.run(batch, go_on)
        except Exception as error:  # it keeps the runtime's failures apart itself: this one is a bug
            log.exception("the runner of %s failed", batch.works[0].owner.model.id)
            return error

    def _hangs(self, run: Run) -> None:
        """A batch has run for far too long: end it, and everything else that its model runs or will run."""
        why = f"hung: a batch of {run.batch.rows} rows ran for more than {run.most:g} s"
        log.error("model %s %s", run.model.id, why)
        self._jobs.hung[run.model.key] = why
        run.model.stop()
        self._on_hang(run.model, why)

    def _lose(self, run: Run) -> None:
        """A batch did not end where it was told to: end its jobs, and put another thread in the place of its own."""
        log.error("model %s does not end: a thread and a core are lost until the process ends", run.model.id)
        self._lost.append(run.thread)
        self._settle(run.batch, ModelFailed("it hangs"), run.seconds)
        if run.thread in self._threads:
            self._threads.remove(run.thread)
            self._add_worker()

    def _settle(self, batch: Batch, outcome: Outcome, seconds: float) -> None:
        """Go on with the jobs of a batch that has run."""
        model = batch.works[0].owner.model
        if isinstance(outcome, Progress):
            self._settle_steps(model, batch, outcome, seconds)
        elif isinstance(outcome, Exception):
            self._settle_nothing(batch, outcome, seconds)
        else:
            self._settle_rows(model, batch, *outcome, seconds)
        with self._changed:
            self._scheduler.finish(batch, seconds)

    def _settle_steps(self, model: Model, batch: Batch, progress: Progress, seconds: float) -> None:
        if self._observer:
            self._observer.sequences(model, batch, progress, seconds)
            if progress.prompt_done and batch.prompt is not None:
                ticket = batch.prompt.owner
                self._observer.first_token(model, time.monotonic() - ticket.submitted, ticket.trace)
        with self._changed:
            for work in batch.works:
                self._jobs.charge(work, seconds / len(batch.works))
            if progress.prompt_done and batch.prompt is not None:
                self._scheduler.prompt_done(batch.prompt)
            for work, _ in progress.ended:
                self._scheduler.ended(work)
            over = [(work.owner, answer) for work, answer in progress.ended if self._jobs.hold_again(work.owner)]
        for ticket, answer in over:
            self._jobs.resume(ticket, answer)

    def _settle_rows(
        self, model: Model, batch: Batch, answers: Sequence[Arrays | Exception], padding: int, seconds: float
    ) -> None:
        if self._observer:
            self._observer.batch(model, batch, seconds, padding)
        with self._changed:
            self._admission.pace(model).batch_ran(batch.lane, batch.rows, seconds, alone=batch.alone)
        self._collect(batch, answers, seconds)

    def _settle_nothing(self, batch: Batch, error: Exception, seconds: float) -> None:
        self._collect(batch, [error] * len(batch.pieces), seconds)
        sequences = batch.works if not batch.pieces else []
        with self._changed:
            for work in sequences:
                self._scheduler.give_up(work)
            over = [work.owner for work in sequences if self._jobs.hold_again(work.owner)]
        for ticket in over:
            self._jobs.resume(ticket, error)

    def _collect(self, batch: Batch, answers: Sequence[Arrays | Exception], seconds: float) -> None:
        """Hand the answers of a batch's pieces to their jobs, and go on with those that have all of theirs."""
        with self._changed:
            for piece in batch.pieces:
                self._jobs.charge(piece.work, seconds * (piece.stop - piece.start) / batch.rows)
            over = [
                work
                for piece, answer in zip(batch.pieces, answers, strict=True)
                if (work := self._jobs.collect(piece.work, piece.start, piece.stop, answer))
            ]
        for work in over:
            self._jobs.resume(work.owner, work.failed or (None if work.owner.cancelled else _joined(work)))


def _joined(work: Work) -> Any:
    """A call's answer from those of its pieces, in order."""
    if len(work.parts) == 1:
        return work.parts[0][1]
    parts = [outputs for _, outputs in sorted(work.parts, key=lambda part: part[0])]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
