"""The jobs under way: each that was taken in ends exactly once, with a result, an error, or as cancelled.

Threads hold a job while they have rows of it in a batch, or advance its generator; the last of them closes it.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from service.engine.admission import Admission
from service.engine.batch import INTERACTIVE, Batch, Piece, Work
from service.engine.job import Call
from service.engine.lanes import lane_of
from service.engine.limits import Limits
from service.engine.scheduler import Scheduler
from service.engine.ticket import Model, Observer, Ticket
from service.errors import AmostraError, InternalError, ModelFailed, NotReady

log = logging.getLogger("amostra.engine")
_OVER = object()


Move = tuple[Ticket, Callable[[Any], Call], Any]
"""A job to go on with: its generator's method, and what that is given."""


class Jobs:
    """Tickets from their arrival to their end, and what they wait for. `lock` is held around all of it, and `changed`
    notified when there is more to do.

    Who is under way is counted under a lock of its own, `counting`, which nobody holds for longer than that takes: whoever
    brings jobs does not wait then until a batch is put together or taken apart. It is the second one, where both are held.
    """

    def __init__(self, limits: Limits, scheduler: Scheduler, admission: Admission, observer: Observer | None) -> None:
        self.lock = threading.RLock()
        self.counting = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self.live: set[Ticket] = set()
        self.closed = False
        self.interactive = 0
        """Of those that are live, the ones that somebody waits for."""
        self.interactive_until = 0.0
        """When the last of them ended."""
        self.spare_until = 0.0
        self.hung: dict[str, str] = {}
        """Models that run no more, by their keys, and why."""
        self._limits = limits
        self._scheduler = scheduler
        self._admission = admission
        self._observer = observer
        self._arrivals: deque[Ticket] = deque()

    def take_in(self, ticket: Ticket) -> None:
        """Count a job in, which is still to be brought. Raises NotReady."""
        if not self._admission.knows(ticket.model):
            with self.lock, self.counting:
                self._admission.meet(ticket.model)
        with self.counting:
            if self.closed:
                raise NotReady("the service is stopping: send the request to another replica")
            self.live.add(ticket)
            self.interactive += ticket.priority == INTERACTIVE
            self._admission.came(ticket)

    def bring(self, tickets: Iterable[Ticket], within: float) -> list[Ticket]:
        """Have jobs that were taken in started by a worker; those that will be over `within` so many seconds, by what was
        measured, are returned, and this thread holds them from here on, to start them."""
        short = []
        with self.lock:
            for ticket in tickets:
                if ticket.priority != INTERACTIVE or not self._is_short(ticket, within):
                    self._arrivals.append(ticket)
                elif ticket in self.live:
                    ticket.holders += 1
                    short.append(ticket)
        return short

    def _is_short(self, ticket: Ticket, within: float) -> bool:
        return within > 0 and ticket.pace.seconds_for(ticket.work) <= within

    def arrived(self) -> bool:
        """Whether a job waits to be started."""
        return bool(self._arrivals)

    def next_arrival(self) -> Ticket | None:
        """A job to be started, which this thread holds from here on; asked with the lock held."""
        while self._arrivals:
            ticket = self._arrivals.popleft()
            if not ticket.cancelled:
                ticket.holders += 1
                return ticket
        return None

    def hold(self, batch: Batch) -> None:
        """This thread holds the jobs of a batch from here on; asked with the lock held."""
        now = time.monotonic()
        for piece in batch.pieces:
            piece.work.owner.holders += 1
            self._begins(piece.work.owner, now)
        if batch.prompt is not None:
            self._begins(batch.prompt.owner, now)

    def hold_again(self, ticket: Ticket) -> bool:
        """This thread goes on with a sequence's job, unless that was cancelled; asked with the lock held."""
        if not ticket.cancelled:
            ticket.holders += 1
        return not ticket.cancelled

    def _begins(self, ticket: Ticket, now: float) -> None:
        """Some of what this job waits for is in a batch: the first time it has waited for."""
        if ticket.since is not None and self._observer:
            self._observer.waited(ticket.model, now - ticket.since, ticket.trace)
        ticket.since = None

    def close(self) -> None:
        """Take no more jobs in, and start none."""
        with self.lock, self.counting:
            self.closed = True
            self.changed.notify_all()

    def start(self, tickets: Iterable[Ticket]) -> None:
        """Run jobs to their first calls."""
        self._advance([(ticket, next, ticket.job) for ticket in tickets])

    def resume(self, answers: Iterable[tuple[Ticket, Any]], then: Callable[[], None] = lambda: None) -> None:
        """Give jobs the answers to their calls, or what went wrong with them. What comes `then` is done with the lock held,
        when all that they ask for next was added."""
        moves: list[Move] = []
        for ticket, answer in answers:
            if isinstance(answer, Exception):
                moves.append((ticket, ticket.job.throw, self._typed(answer, ticket.model)))
            else:
                moves.append((ticket, ticket.job.send, answer))
        self._advance(moves, then)

    def charge(self, work: Work, seconds: float) -> None:
        """A job under way has had this much time; asked with the lock held."""
        ticket = work.owner
        if ticket in self.live:
            with self.counting:
                self._admission.had(ticket, seconds)
            work.long = ticket.seconds > self._limits.long_seconds

    def collect(self, piece: Piece, answer: Any) -> bool:
        """Keep a piece's answer; asked with the lock held. Whether nothing of its work is left, and this thread is to go on
        with it."""
        work, ticket = piece.work, piece.work.owner
        work.done += piece.stop - piece.start
        if isinstance(answer, Exception):
            work.failed = work.failed or answer
            self._scheduler.discard(ticket, work.lane)
        elif answer is not None:
            work.parts.append((piece.start, answer))
            if work.done == work.size and not work.call.ahead:
                ticket.lane = None
        if work.done == work.size or (work.failed is not None and work.done == work.taken):
            return True
        if ticket.cancelled and ticket.holders == 1:
            return True
        ticket.holders -= 1
        return False

    def cancel(self, ticket: Ticket) -> None:
        """Give a job up: what waits is forgotten, what runs is not used. Safe at any time, more than once."""
        if ticket not in self.live:
            return
        with self.lock:
            if ticket not in self.live or ticket.cancelled:
                return
            ticket.cancelled = True
            self._scheduler.discard(ticket, ticket.lane)
            close = not ticket.holders
            if close:
                self._release(ticket, served=False)
        if close:
            ticket.job.close()

    def end(self, ticket: Ticket, error: Exception) -> None:
        """Tell a job's owner that it failed, unless that was done or nobody wants to know."""
        with self.lock:
            if ticket not in self.live:
                return
            ticket.error = error
            told = self._end(ticket)
        if told:
            ticket.on_done(ticket)

    def _advance(self, moves: Iterable[Move], then: Callable[[], None] = lambda: None) -> None:
        """Go on with jobs up to their next calls, or to their ends; this thread is the only one that holds them."""
        asked = [(ticket, self._step(ticket, step, value)) for ticket, step, value in moves]
        over: list[tuple[Ticket, bool]] = []
        with self.lock:
            for ticket, call in asked:
                if call is _OVER or ticket.cancelled or not self._wait(ticket, call):
                    over.append((ticket, self._end(ticket)))
            then()
        for ticket, told in over:
            if told:
                ticket.on_done(ticket)
            ticket.job.close()

    def _step(self, ticket: Ticket, step: Callable[[Any], Call], value: Any) -> Any:
        """A job's next call; _OVER where it has ended, with a result or an error, or was cancelled before."""
        if ticket.cancelled:
            return _OVER
        try:
            return step(value)
        except StopIteration as stop:
            ticket.result = stop.value
        except Exception as error:
            ticket.error = self._known(ticket, error)
        return _OVER

    def _known(self, ticket: Ticket, error: Exception) -> AmostraError:
        """What a job's owner is told of an error."""
        if isinstance(error, AmostraError):
            return error
        log.error("a job of model %s failed", ticket.model.id, exc_info=error)
        return InternalError("the service failed on this request; its log has the reason")

    def _wait(self, ticket: Ticket, call: Call) -> bool:
        """Put a job's call where it waits for its batches; this thread holds it no longer. False where there is no such
        place, by an error of the job's."""
        try:
            lane = lane_of(ticket.model, call, self._limits, ticket.pace, self._scheduler.crowding, ticket.group)
        except Exception as error:
            ticket.error = self._known(ticket, error)
            return False
        ticket.lane = lane
        ticket.since = time.monotonic()
        ticket.holders -= 1
        long = ticket.seconds > self._limits.long_seconds
        work = Work(ticket, call, lane, ticket.priority, group=ticket.group, long=long)
        self._scheduler.add(work, self._admission.share(ticket.model).weight)
        return True

    def _end(self, ticket: Ticket) -> bool:
        """A job is over; asked with the lock held. Whether its owner is to be told."""
        if ticket not in self.live:
            return False
        if ticket.lane is not None:
            self._scheduler.discard(ticket, ticket.lane)
        self._release(ticket, served=not ticket.cancelled and ticket.error is None)
        short = ticket.priority == INTERACTIVE and ticket.seconds <= self._limits.long_seconds
        if self.interactive and short and not ticket.cancelled:
            self.spare_until = self.interactive_until + self._limits.spare_seconds
        return not ticket.cancelled

    def _release(self, ticket: Ticket, *, served: bool) -> None:
        with self.counting:
            self.live.discard(ticket)
            if ticket.priority == INTERACTIVE:
                self.interactive -= 1
                self.interactive_until = time.monotonic()
            self._admission.ended(ticket, served=served)

    def _typed(self, error: Exception, model: Model) -> AmostraError:
        if model.key in self.hung:
            return ModelFailed(f"model {model.id} {self.hung[model.key]}")
        if isinstance(error, AmostraError):
            return error
        log.error("model %s failed on a request's rows: %s", model.id, error)
        return ModelFailed(f"model {model.id} failed on this request's rows; no other request is affected")
