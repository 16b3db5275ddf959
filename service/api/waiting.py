"""Waiting for the engine without losing anybody: a client that leaves or a deadline that passes cancels the jobs."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

from starlette.requests import Request

from service.api.state import State
from service.api.terms import TIMEOUT, terms_of
from service.engine.batch import INTERACTIVE
from service.engine.job import Job
from service.engine.ticket import Model, Ticket
from service.errors import ClientGone, DeadlineExceeded

_PATIENCE_SECONDS = 0.02
"""How long an answer may take before anybody looks whether the client is still there: most are faster."""


class Pending:
    """The jobs of one request. Use as a context manager: whatever has not ended at its exit is cancelled."""

    def __init__(self, state: State, request: Request, model: Model, jobs: Sequence[tuple[Job, float]]) -> None:
        terms = terms_of(request, state.settings)
        state.engine.admit(model, terms.priority)
        expected = state.engine.expected_seconds(model, sum(work for _, work in jobs)) if terms.strict else 0.0
        if expected > terms.seconds:
            raise DeadlineExceeded(
                f"{TIMEOUT}: {terms.seconds:g} s cannot be met, about {expected:.1f} s of work stand before the answer: "
                f"allow more time, or ask later",
                field=TIMEOUT,
            )
        self._request = request
        self._state = state
        self._engine = state.engine
        self._seconds = terms.seconds
        self._loop = asyncio.get_running_loop()
        self._everything: asyncio.Future[None] = self._loop.create_future()
        self._tickets: list[Ticket] = []
        self._count = len(jobs)
        self._ended = itertools.count(1)
        # With others on their way the event loop has enough to do, and a batch of theirs is better.
        here = len(jobs) == 1 and state.metrics.under_way == 1 and terms.priority == INTERACTIVE
        trace = request.scope["amostra.trace"]
        try:
            for job, work in jobs:
                ticket = state.engine.submit(
                    model, job, work, self._on_done, terms.priority, group=self, trace=trace, here=here
                )
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
        watch: asyncio.Task | None = None

        def begin_to_watch() -> None:
            nonlocal watch
            watch = self._loop.create_task(self._watch())

        timer = self._loop.call_later(_PATIENCE_SECONDS, begin_to_watch)
        try:
            await self._everything
            self._request.scope["amostra.computed"] = time.perf_counter()
            return self.ended()
        finally:
            timer.cancel()
            if watch is not None:
                watch.cancel()

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

    async def _watch(self) -> None:
        """End the waiting when the client leaves, or the time is up."""
        try:
            async with asyncio.timeout(max(0.0, self._seconds - _PATIENCE_SECONDS)):
                while (await self._request.receive())["type"] != "http.disconnect":
                    pass
            self._settle(ClientGone("the client left before the answer"))
        except TimeoutError:
            self._settle(
                DeadlineExceeded(f"the answer was not there within {self._seconds:g} s: ask for less, or later")
            )

    def _on_done(self, ticket: Ticket) -> None:
        """A job has ended; called on a worker's thread. The event loop is told of the last one, and of a failure."""
        last = next(self._ended) == self._count
        if last or ticket.error is not None:
            with suppress(RuntimeError):  # the event loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._settle, ticket.error)

    def _settle(self, error: Exception | None) -> None:
        if self._everything.done():
            return
        if error is None:
            self._everything.set_result(None)
        else:
            self._everything.set_exception(error)
            self._everything.exception()  # looked at, even if nobody waits any more

    def _cancel(self) -> None:
        self._everything.cancel()
        tickets, self._tickets = self._tickets, []  # they know us: a circle would wait for the garbage collector
        for ticket in tickets:
            self._engine.cancel(ticket)
        key = self._request.scope.get("amostra.key")
        if key is not None and tickets:
            self._state.charge(key, sum(ticket.seconds for ticket in tickets))
