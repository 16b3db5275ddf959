"""The loop: schedule, run, advance — on a few threads beside the event loop.

The life of a request: a task makes a job; `submit` takes it in; a worker starts the generator and gives its call to the
scheduler; batches run; the generator is sent its rows and asks for more, or returns; the ticket's owner is told. Whoever
brings several jobs takes each of them in, and has all of them begun at once; what is short is run on their own thread.

A batch that fails is run again piece by piece, so that one bad input fails alone. One that hangs is ended, and its model
runs no more; where it cannot be ended, another thread takes the place of the one that is lost with it. For the thread of
whoever brings jobs there is no other.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from service.cores import Place, keep_to_one, use_all
from service.engine.admission import Admission
from service.engine.batch import INTERACTIVE, Batch, Lane
from service.engine.job import Job
from service.engine.jobs import Jobs
from service.engine.limits import Limits
from service.engine.rows import RowRunner
from service.engine.scheduler import Scheduler
from service.engine.sequence_parts import Sequences
from service.engine.settling import Outcome, Settling
from service.engine.share import Share
from service.engine.ticket import Model, Observer, Ticket
from service.engine.watchdog import Run, Watchdog
from service.engine.yielding import Yielding
from service.errors import ModelFailed, NotReady

log = logging.getLogger("amostra.engine")
LIMITS = Limits()
_TRIAL = 20


class Engine:
    """Runs the jobs of all models on `workers` threads, within `limits`.

    `queue_seconds` bounds the work that may stand before a new request, `queue_requests` the number of jobs under way, and
    `shares` may say something else for a model, by its id. `pinned` workers keep to a core each, where there are as many as
    the process may use. A batch that takes longer than `hang_seconds`, and far longer than is known of its like, hangs:
    `on_hang(model, why)` is told, on a thread of the engine's, and is to be brief. `on_stuck()` is told where a batch that a
    thread of somebody else's runs, in begin(), does not end even so.
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
        pinned: bool = False,
        observer: Observer | None = None,
        on_hang: Callable[[Model, str], None] = lambda model, why: None,
        on_stuck: Callable[[], None] = lambda: None,
    ) -> None:
        self._workers = workers
        self._limits = limits
        self._on_hang = on_hang
        self._on_stuck = on_stuck
        self._scheduler = Scheduler(workers)
        self._admission = Admission(workers, queue_seconds, queue_requests, shares or {}, self._scheduler.forget)
        self._jobs = Jobs(limits, self._scheduler, self._admission, observer)
        self._changed = self._jobs.changed
        self._settling = Settling(self._jobs, self._scheduler, self._admission, observer)
        self._watchdog = Watchdog(hang_seconds, self._hangs, self._lose, limits.here_hang_seconds)
        self._pinned = pinned
        self._threads: dict[threading.Thread, int] = {}
        self._lost: list[threading.Thread] = []
        self._yielding = Yielding(self._jobs, limits, workers)
        self._turns = 0

    def start(self) -> None:
        """Start the workers."""
        for _ in range(self._workers):
            self._add_worker()
        self._watchdog.start()

    def _add_worker(self) -> None:
        number = min(set(range(self._workers)) - set(self._threads.values()))
        thread = threading.Thread(target=self._work, args=(number,), name="amostra-worker", daemon=True)
        self._threads[thread] = number
        thread.start()

    def stop(self) -> None:
        """Stop the workers after the batches in flight, but for those that take long; what still waits ends with an
        error."""
        self._jobs.close()
        self._watchdog.stop()
        until = time.monotonic() + self._limits.stop_seconds
        for thread in list(self._threads):
            thread.join(max(0.0, until - time.monotonic()))
        for ticket in list(self._jobs.live):
            self._jobs.end(ticket, NotReady("the service is stopping: send the request again"))
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
    ) -> Ticket:
        """Take a job in, and have it run. `work` is its cost in the model's own unit: rows, pixels or tokens. The jobs of
        a `group` share what one job alone would get where sequences wait for a slot; `trace` names the request to an
        observer."""
        ticket = Ticket(model, job, work, priority, on_done, group, trace)
        self.take_in(ticket)
        self._jobs.bring([ticket], 0.0)
        with self._jobs.lock:
            self._call_worker()
        return ticket

    def take_in(self, ticket: Ticket) -> None:
        """Count a job in that is to be begun a moment later. Raises NotReady."""
        self._jobs.take_in(ticket)

    def begin(self, tickets: Sequence[Ticket], *, alone: bool = False) -> None:
        """Have jobs run that were taken in. What is short, by what was measured, is done on this thread, for `here_seconds`
        in all and in batches of up to `turn_seconds`, or for `alone_seconds` where one job is all `alone`. The workers do the rest."""
        alone = alone and len(tickets) == 1 == self._jobs.interactive
        here = self._limits.alone_seconds if alone else self._limits.here_seconds
        if short := self._jobs.bring(tickets, here):
            self._jobs.start(short)
        # What workers measure is too long while this thread holds the interpreter: now and then it is tried here.
        self._turns = (self._turns + 1) % _TRIAL
        most = here if alone or not self._turns else self._limits.turn_seconds
        until = time.monotonic() + here
        while (batch := self._take_short(until, most, alone=alone)) is not None and self._do_here(batch):
            if not self._jobs.live:
                return

    def _take_short(self, until: float, most: float, *, alone: bool) -> Batch | None:
        """The next batch, where it will be over in time and takes `most` seconds; a worker is woken for any other."""
        left = until - time.monotonic()

        def fits(lane: Lane, rows: int) -> bool:
            return alone if lane.slots else self._admission.quickest(lane, rows) <= min(left, most)

        with self._jobs.lock:
            batch = None
            if left > 0 and not self._jobs.closed:
                batch = self._scheduler.next_batch(self._yielding.most_long(), 0, fits)
            if batch is not None:
                self._hold(batch)
            else:
                self._call_worker()
            return batch

    def _do_here(self, batch: Batch) -> bool:
        """Run a batch on this thread. It may go to the first core, where one that is alone belongs, for just so long: what it
        starts at other times would keep to that core too."""
        if not self._pinned or not batch.alone:
            return self._do(batch, here=True)
        keep_to_one(0, self._workers)
        try:
            return self._do(batch, here=True)
        finally:
            use_all()

    def _call_worker(self) -> None:
        """Wake a worker where there is something to do, with the lock held; one that sees more than enough for it wakes the
        next."""
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
        with self._jobs.lock:
            return self._scheduler.waiting_rows(model.key)

    def calm(self) -> bool:
        """Whether nobody has waited for an answer for a while: the time of background jobs."""
        return self._yielding.calm()

    @property
    def live(self) -> int:
        """Jobs taken in and not ended."""
        return len(self._jobs.live)

    @property
    def lost(self) -> int:
        """Threads that hang in a graph, and keep a core busy each."""
        return sum(thread.is_alive() for thread in self._lost)

    def _work(self, number: int) -> None:
        place = Place(number, self._workers) if self._pinned else None
        while True:
            with self._jobs.lock:
                while (found := self._take()) is None:
                    if self._jobs.closed:
                        return
                    # What is held back for a moment is looked at again.
                    held_back = self._scheduler.runnable()
                    self._changed.wait(self._limits.calm_seconds if held_back else None)
                if self._more():
                    self._changed.notify()  # pass the baton: there is more than one worker's worth
            if place is not None and isinstance(found, Batch):
                place.keep(alone=found.alone)
            if not self._do(found):
                return

    def _more(self) -> bool:
        """Whether _take would find something; asked with the lock held."""
        return self._jobs.arrived() or self._scheduler.runnable(
            self._yielding.most_long(), self._yielding.most_patient()
        )

    def _take(self) -> Ticket | Batch | None:
        """A job to start, or a batch to run; this thread holds its tickets from here on."""
        if self._jobs.closed:
            return None
        arrival = self._jobs.next_arrival()
        if arrival is not None:
            return arrival
        rules = self._yielding
        batch = self._scheduler.next_batch(rules.most_long(), rules.most_patient(), overdue=rules.overdue())
        if batch is not None:
            self._hold(batch)
            if batch.patient:
                self._yielding.patient_began()
        return batch

    def _hold(self, batch: Batch) -> None:
        """This thread is to run a batch; asked with the lock held."""
        self._jobs.hold(batch)
        batch.expected = self._admission.pace(batch.model).seconds_of(batch.lane, batch.rows)

    def _do(self, found: Ticket | Batch, *, here: bool = False) -> bool:
        """Start a job, or run a batch and go on with its jobs. False where a batch took so long that this thread was
        replaced meanwhile."""
        if isinstance(found, Ticket):
            self._jobs.start([found])
            return True
        model = found.model
        if model.key in self._jobs.hung:
            self._settling.settle(found, ModelFailed("it hangs"), 0.0)
            return True
        runner = model.runners[found.works[0].call.capability]
        run = self._watchdog.begin(found, model, found.expected, here=here)
        start = time.monotonic()
        outcome = (
            runner.run_each(found) if found.pieces or isinstance(runner, RowRunner) else self._run_steps(found, runner)
        )
        if not self._watchdog.end(run):
            return False
        self._settling.settle(found, outcome, time.monotonic() - start)
        return True

    def _run_steps(self, batch: Batch, runner: Sequences) -> Outcome:
        with self._jobs.lock:
            others, seen = batch.one_step or self._more(), self._scheduler.news(batch.lane)
        until = time.monotonic() + self._limits.step_seconds

        def go_on() -> bool:
            undisturbed = self._scheduler.news(batch.lane) == seen and not self._jobs.arrived()
            return undisturbed and not others and time.monotonic() < until

        try:
            return runner.run(batch, go_on)
        except Exception as error:  # it keeps the runtime's failures apart itself: this one is a bug
            log.exception("the runner of %s failed", batch.model.id)
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
        if not run.here:
            self._lost.append(run.thread)
        self._settling.settle(run.batch, ModelFailed("it hangs"), run.seconds)
        if run.here:
            self._on_stuck()
        else:
            del self._threads[run.thread]
            self._add_worker()
