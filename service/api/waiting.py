"""Waiting for the engine without losing anybody: a client that leaves or a deadline that passes cancels the jobs."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from starlette.requests import Request

from service.api.state import State
from service.api.terms import TIMEOUT, terms_of
from service.api.turns import LOOK_SECONDS
from service.engine.job import Job
from service.engine.ticket import Model, Ticket
from service.errors import ClientGone, DeadlineExceeded


class Pending:
    """The jobs of one request. Use as a context manager: whatever has not ended at its exit is cancelled."""

    def __init__(self, state: State, request: Request, model: Model, jobs: Sequence[tuple[Job, float]]) -> None:
        terms = terms_of(request, state.settings)
        state.engine.admit(model, terms.priority)
        if terms.strict:
            _check_in_time(state.engine.expected_seconds(model, sum(work for _, work in jobs)), terms.seconds)
        self._request = request
        self._state = state
        self._seconds = terms.seconds
        self._until = time.monotonic() + terms.seconds
        self._everything: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._over = False
        self._tickets: list[Ticket] = []
        self._left = len(jobs)
        self._watcher: asyncio.Task[None] | None = None
        trace = request.scope["amostra.trace"]
        try:
            for job, work in jobs:
                ticket = Ticket(model, job, work, terms.priority, state.turns.ended, self, trace)
                state.turns.submit(ticket)
                self._tickets.append(ticket)
        except BaseException:
            self._cancel()
            raise

    def __enter__(self) -> "Pending":
        return self

    def __exit__(self, *_: object) -> None:
        self._cancel()

    async def results(self) -> list[Any]:
        """Wait for all results. Raises the first error, ClientGone or DeadlineExceeded."""
        if self._seconds < 2 * LOOK_SECONDS:
            self.watch()
        else:
            self._state.turns.wait(self)
        await self._everything
        self._request.scope["amostra.computed"] = time.perf_counter()
        return self.ended()

    async def events(self, queue: asyncio.Queue) -> AsyncIterator[Any]:
        """What the jobs put into the queue, until all of them have ended. Raises as results() does."""
        self._everything.add_done_callback(lambda _: queue.put_nowait(None))
        try:
            async with asyncio.timeout(self._seconds):
                while (event := await queue.get()) is not None:
                    yield event
        except TimeoutError as error:
            raise DeadlineExceeded(f"the answer did not end within {self._seconds:g} s: ask for less") from error
        self._everything.result()

    def ended(self) -> list[Any]:
        """The results, where all jobs have ended well."""
        return [ticket.result for ticket in self._tickets]

    def settle(self, ticket: Ticket) -> None:
        """A job has ended; the waiting is over with the last of them, or with a failure."""
        self._left -= 1
        if ticket.error is not None or not self._left:
            self._end(ticket.error)

    def watch(self) -> None:
        """End the waiting when the client leaves, or the time is up."""
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        try:
            async with asyncio.timeout(max(0.0, self._until - time.monotonic())):
                while (await self._request.receive())["type"] != "http.disconnect":
                    pass
            self._end(ClientGone("the client left before the answer"))
        except TimeoutError:
            self._end(DeadlineExceeded(f"the answer was not there within {self._seconds:g} s: ask for less, or later"))

    def _end(self, error: Exception | None) -> None:
        if self._over or self._everything.done():
            return
        if error is None:
            self._everything.set_result(None)
        else:
            self._everything.set_exception(error)
            self._everything.exception()  # looked at, even if nobody waits any more

    def _cancel(self) -> None:
        self._state.turns.leave(self)
        if not self._over:
            self._over = True
            self._everything.cancel()
            # What it raised knows us by its traceback, as do our watcher's end and our tickets: circles, which would wait for
            # the garbage collector.
            del self._everything
        watcher, self._watcher = self._watcher, None
        tickets, self._tickets = self._tickets, []
        if watcher is not None:
            watcher.cancel()
        if self._left:
            for ticket in tickets:
                self._state.engine.cancel(ticket)
        key = self._request.scope.get("amostra.key")
        if key is not None and tickets:
            self._state.charge(key, sum(ticket.seconds for ticket in tickets))


def _check_in_time(expected: float, seconds: float) -> None:
    """Refuse at once what would not be there in time."""
    if expected > seconds:
        raise DeadlineExceeded(
            f"{TIMEOUT}: {seconds:g} s cannot be met, about {expected:.1f} s of work stand before the answer: "
            f"allow more time, or ask later",
            field=TIMEOUT,
        )
