"""The loop: schedule, run, advance — on a few threads beside the event loop.

The life of a request: a task makes a job; `submit` takes it in; a worker starts the generator and gives its call to the
scheduler; batches run; the generator is sent its rows and asks for more, or returns; the ticket's owner is told.

A job that was taken in ends exactly once: with a result, an error, or as cancelled. A batch that fails is run again
piece by piece, so that one bad input fails alone.
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from service.engine.admission import Admission
from service.engine.batch import INTERACTIVE, Batch, Work
from service.engine.job import Call, Job
from service.engine.lanes import lane_of
from service.engine.limits import Limits
from service.engine.rows import RowRunner
from service.engine.scheduler import Scheduler
from service.engine.sequences import Progress, SequenceRunner
from service.engine.share import Share
from service.engine.ticket import Model, Observer, Ticket
from service.errors import AmostraError, InternalError, ModelFailed, NotReady

log = logging.getLogger("amostra.engine")
LIMITS = Limits()


class Engine:
    """Runs the jobs of all models on `workers` threads, within `limits`.

    `queue_seconds` bounds the work that may stand before a new request, `queue_requests` the number of jobs under way, and
    `shares` may say something else for a model, by its id.
    """

    def __init__(
        self,
        workers: int,
        limits: Limits = LIMITS,
        *,
        queue_seconds: float = 30.0,
        queue_requests: int = 1024,
        shares: Mapping[str, Share] | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._workers = workers
        self._limits = limits
        self._observer = observer
        self._scheduler = Scheduler()
        self._changed = threading.Condition()
        self._arrivals: deque[Ticket] = deque()
        self._live: set[Ticket] = set()
        self._admission = Admission(workers, queue_seconds, queue_requests, shares or {}, self._scheduler.forget)
        self._threads: list[threading.Thread] = []
        self._spare_until = 0.0
        self._stopping = False

    def start(self) -> None:
        """Start the workers."""
        for number in range(self._workers):
            thread = threading.Thread(target=self._work, name=f"amostra-worker-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Stop the workers after the batches in flight; what still waits ends with an error."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        for ticket in list(self._live):
            self._end(ticket, error=NotReady("the service is stopping: send the request again"))

    def admit(self, model: Model) -> None:
        """Raise Overloaded where a model's queue is full, with the time to come back."""
        self._admission.admit(model, len(self._live))

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
        with self._changed:
            if self._stopping:
                raise NotReady("the service is stopping: send the request to another replica")
            pace = self._admission.pace(model)
            here = here and not self._live and pace.seconds_for(work) <= self._limits.here_seconds
            self._live.add(ticket)
            self._admission.came(ticket)
            self._arrivals.append(ticket)
            if not here:
                self._changed.notify()
        if here:
            self._help(ticket)
        return ticket

    def _help(self, ticket: Ticket) -> None:
        """Do what a worker would do, until this job has ended or turns out to be longer than was thought."""
        until = time.monotonic() + self._limits.here_seconds
        while ticket in self._live and time.monotonic() < until:
            with self._changed:
                found = self._take()
            if found is None:
                break
            self._do(found)
        with self._changed:
            if self._more():
                self._changed.notify()

    def cancel(self, ticket: Ticket) -> None:
        """Give a job up: what waits is forgotten, what runs is not used. Safe at any time, more than once."""
        with self._changed:
            if ticket not in self._live or ticket.cancelled:
                return
            ticket.cancelled = True
            self._scheduler.discard(ticket, ticket.lane)
            close = not ticket.holders
            if close:
                self._release(ticket, served=False)
        if close:
            ticket.job.close()

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

    @property
    def live(self) -> int:
        """Jobs taken in and not ended."""
        return len(self._live)

    def _work(self) -> None:
        while True:
            with self._changed:
                while (found := self._take()) is None:
                    if self._stopping:
                        return
                    # What is held back for a moment is looked at again.
                    held_back = self._most_long() is not None and self._scheduler.runnable()
                    self._changed.wait(self._limits.spare_seconds if held_back else None)
                if self._more():
                    self._changed.notify()  # pass the baton: there is more than one worker's worth
            self._do(found)

    def _more(self) -> bool:
        """Whether _take would find something; asked with the lock held."""
        return bool(self._arrivals) or self._scheduler.runnable(self._most_long())

    def _most_long(self) -> int | None:
        """How many workers long jobs may have now; None for all."""
        return self._workers - 1 if self._workers > 1 and time.monotonic() < self._spare_until else None

    def _do(self, found: Ticket | Batch) -> None:
        if isinstance(found, Ticket):
            self._advance(found, next, found.job)
        else:
            self._serve(found)

    def _take(self) -> Ticket | Batch | None:
        """A job to start, or a batch to run; this thread holds its tickets from here on."""
        if self._stopping:
            return None
        while self._arrivals:
            ticket = self._arrivals.popleft()
            if not ticket.cancelled:
                ticket.holders += 1
                return ticket
        batch = self._scheduler.next_batch(self._most_long())
        if batch is not None:
            for piece in batch.pieces:
                piece.work.owner.holders += 1
                self._begins(piece.work.owner)
            if batch.prompt is not None:
                self._begins(batch.prompt.owner)
        return batch

    def _begins(self, ticket: Ticket) -> None:
        """Some of what this job waits for is in a batch: the first time it has waited for."""
        if ticket.since is not None and self._observer:
            self._observer.waited(ticket.model, time.monotonic() - ticket.since, ticket.trace)
        ticket.since = None

    def _serve(self, batch: Batch) -> None:
        work = batch.works[0]
        runner = work.owner.model.runners[work.call.capability]
        if isinstance(runner, SequenceRunner):
            self._serve_sequences(batch, runner)
        else:
            self._serve_rows(batch, runner)

    def _serve_sequences(self, batch: Batch, runner: SequenceRunner) -> None:
        model = batch.works[0].owner.model
        start = time.monotonic()
        forget = self._scheduler.ended
        with self._changed:
            stepping = 0.0 if self._more() else self._limits.step_seconds
        try:
            progress = runner.run(batch, stepping)
        except Exception as error:  # it keeps the runtime's failures apart itself: this one is a bug
            log.exception("the runner of %s failed", model.id)
            progress = Progress(ended=[(work, error) for work in batch.works])
            forget = self._scheduler.give_up
        seconds = time.monotonic() - start
        if self._observer:
            self._observer.sequences(model, batch, progress, seconds)
            if progress.prompt_done and batch.prompt is not None:
                ticket = batch.prompt.owner
                self._observer.first_token(model, time.monotonic() - ticket.submitted, ticket.trace)
        with self._changed:
            for work in batch.works:
                self._charge(work, seconds / len(batch.works))
            if progress.prompt_done and batch.prompt is not None:
                self._scheduler.prompt_done(batch.prompt)
            over = []
            for work, answer in progress.ended:
                forget(work)
                if not work.owner.cancelled:
                    work.owner.holders += 1
                    over.append((work.owner, answer))
        for ticket, answer in over:
            self._resume(ticket, answer)
        with self._changed:
            self._scheduler.finish(batch, seconds)

    def _charge(self, work: Work, seconds: float) -> None:
        """A job under way has had this much time."""
        if work.owner in self._live:
            self._admission.had(work.owner, seconds)
            work.long = work.owner.seconds > self._limits.long_seconds

    def _serve_rows(self, batch: Batch, runner: RowRunner) -> None:
        model = batch.works[0].owner.model
        start = time.monotonic()
        answers, padding = runner.run_each(batch)
        seconds = time.monotonic() - start
        if self._observer:
            self._observer.batch(model, batch, seconds, padding)
        with self._changed:
            self._admission.pace(model).batch_ran(batch.lane, batch.rows, seconds)
            for piece in batch.pieces:
                self._charge(piece.work, seconds * (piece.stop - piece.start) / batch.rows)
            over = [
                work
                for piece, answer in zip(batch.pieces, answers, strict=True)
                if (work := self._collect(piece.work, piece.start, piece.stop, answer))
            ]
        for work in over:
            self._resume(work.owner, work.failed or (None if work.owner.cancelled else _joined(work)))
        with self._changed:
            self._scheduler.finish(batch, seconds)

    def _collect(self, work: Work, start: int, stop: int, answer: Any) -> Work | None:
        """Keep a piece's answer. Returns the work where nothing of it is left, and this thread is to go on with it."""
        ticket = work.owner
        work.done += stop - start
        if isinstance(answer, Exception):
            work.failed = work.failed or answer
            self._scheduler.discard(ticket, work.lane)
        elif answer is not None:
            work.parts.append((start, answer))
        if work.done == work.call.size or (work.failed is not None and work.done == work.taken):
            return work
        if ticket.cancelled and ticket.holders == 1:
            return work
        ticket.holders -= 1
        return None

    def _resume(self, ticket: Ticket, answer: Any) -> None:
        """Give a job the answer to its call, or what went wrong with it."""
        if isinstance(answer, Exception):
            self._advance(ticket, ticket.job.throw, _typed(answer, ticket.model))
        else:
            self._advance(ticket, ticket.job.send, answer)

    def _advance(self, ticket: Ticket, step: Callable[[Any], Call], value: Any) -> None:
        """Resume a job and take its next call; this thread is the only one that holds it."""
        call = lane = None
        if not ticket.cancelled:
            try:
                call = step(value)
                with self._changed:
                    lane = lane_of(ticket.model, call, self._limits, self._admission.pace(ticket.model))
            except StopIteration as stop:
                self._end(ticket, result=stop.value)
                return
            except Exception as error:
                if not isinstance(error, AmostraError):
                    log.exception("a job of model %s failed", ticket.model.id)
                    error = InternalError("the service failed on this request; its log has the reason")
                self._end(ticket, error=error)
                ticket.job.close()
                return
        with self._changed:
            if not ticket.cancelled and call is not None and lane is not None:
                ticket.lane = lane
                ticket.since = time.monotonic()
                ticket.holders -= 1
                long = ticket.seconds > self._limits.long_seconds
                work = Work(ticket, call, lane, ticket.priority, group=ticket.group, long=long)
                self._scheduler.add(work, self._admission.share(ticket.model).weight)
                return
            self._scheduler.discard(ticket, ticket.lane)
            self._release(ticket, served=False)
        ticket.job.close()

    def _end(self, ticket: Ticket, result: Any = None, error: Exception | None = None) -> None:
        with self._changed:
            if ticket not in self._live:
                return
            self._scheduler.discard(ticket, ticket.lane)
            self._release(ticket, served=error is None)
            if self._live and ticket.seconds <= self._limits.long_seconds:
                self._spare_until = time.monotonic() + self._limits.spare_seconds
            cancelled = ticket.cancelled
        if not cancelled:
            ticket.result, ticket.error = result, error
            ticket.on_done(ticket)

    def _release(self, ticket: Ticket, *, served: bool) -> None:
        self._live.discard(ticket)
        self._admission.ended(ticket, served=served)


def _typed(error: Exception, model: Model) -> AmostraError:
    if isinstance(error, AmostraError):
        return error
    log.error("model %s failed on a request's rows: %s", model.id, error)
    return ModelFailed(f"model {model.id} failed on this request's rows; no other request is affected")


def _joined(work: Work) -> Any:
    """A call's answer from those of its pieces, in order."""
    if len(work.parts) == 1:
        return work.parts[0][1]
    parts = [outputs for _, outputs in sorted(work.parts, key=lambda part: part[0])]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
