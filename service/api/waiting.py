"""Waiting for the engine without losing anybody: a client that leaves or a deadline that passes cancels the jobs."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

from starlette.requests import Request

from service.api.state import State
from service.engine.job import Job
from service.engine.ticket import Model, Ticket
from service.errors import ClientGone, DeadlineExceeded


class Pending:
    """The jobs of one request. Use as a context manager: whatever has not ended at its exit is cancelled."""

    def __init__(self, state: State, model: Model, jobs: Sequence[tuple[Job, float]]) -> None:
        state.engine.admit(model)
        self._engine = state.engine
        self._seconds = state.settings.request_timeout_seconds
        self._loop = asyncio.get_running_loop()
        self._ended: list[asyncio.Future] = [self._loop.create_future() for _ in jobs]
        self._tickets: list[Ticket] = []
        try:
            for (job, work), future in zip(jobs, self._ended, strict=True):
                self._tickets.append(state.engine.submit(model, job, work, self._settler(future), group=self))
        except BaseException:
            self._cancel()
            raise

    def __enter__(self) -> "Pending":
        return self

    def __exit__(self, *_: object) -> None:
        self._cancel()

    async def results(self, request: Request) -> list[Any]:
        """Wait for all results. Raises the first error, ClientGone or DeadlineExceeded."""
        everything = self._everything()
        gone = asyncio.ensure_future(_disconnected(request))
        waited: set[asyncio.Future] = {everything, gone}
        try:
            await asyncio.wait(waited, timeout=self._seconds, return_when=asyncio.FIRST_COMPLETED)
            if everything.done():
                return everything.result()
            if gone.done():
                raise ClientGone("the client left before the answer")
            raise DeadlineExceeded(f"the answer was not there within {self._seconds:g} s: ask for less, or later")
        finally:
            gone.cancel()
            everything.cancel()

    async def events(self, queue: asyncio.Queue) -> AsyncIterator[Any]:
        """What the jobs put into the queue, until all of them have ended. Raises as results() does."""
        everything = self._everything()
        everything.add_done_callback(lambda _: queue.put_nowait(None))
        try:
            async with asyncio.timeout(self._seconds):
                while (event := await queue.get()) is not None:
                    yield event
            everything.result()
        except TimeoutError as error:
            raise DeadlineExceeded(f"the answer did not end within {self._seconds:g} s: ask for less") from error
        finally:
            everything.cancel()

    def ended(self) -> list[Any]:
        """The results, where all jobs have ended well."""
        return [future.result() for future in self._ended]

    def _everything(self) -> asyncio.Future:
        everything = asyncio.gather(*self._ended)
        # Where nobody waits for it any more, asyncio would complain that its error was never looked at.
        everything.add_done_callback(lambda done: done.cancelled() or done.exception())
        return everything

    def _settler(self, future: asyncio.Future) -> Any:
        def settle(ticket: Ticket) -> None:
            if future.done():
                return
            if ticket.error is not None:
                future.set_exception(ticket.error)
            else:
                future.set_result(ticket.result)

        def on_done(ticket: Ticket) -> None:
            with suppress(RuntimeError):  # the event loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(settle, ticket)

        return on_done

    def _cancel(self) -> None:
        for ticket in self._tickets:
            self._engine.cancel(ticket)


async def run(state: State, request: Request, model: Model, job: Job, work: float) -> Any:
    """Run one job and wait for its result."""
    return (await run_all(state, request, model, [(job, work)]))[0]


async def run_all(state: State, request: Request, model: Model, jobs: Sequence[tuple[Job, float]]) -> list[Any]:
    """Run the jobs of one request and wait for all of their results."""
    with Pending(state, model, jobs) as pending:
        return await pending.results(request)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
