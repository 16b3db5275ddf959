"""Between the event loop and the engine: what requests bring in one turn of the loop is handed over together, and so is what
comes back meanwhile. A crowd of short jobs is a batch then that needs no other thread."""

import asyncio
import threading
from collections import deque
from contextlib import suppress
from typing import Protocol

from service.engine.loop import Engine
from service.engine.ticket import Ticket
from service.metrics import Metrics

LOOK_SECONDS = 0.02


class Waiting(Protocol):
    """A request that waits for its jobs, and is the group of their tickets."""

    def settle(self, ticket: Ticket) -> None:
        """One of them has ended."""

    def watch(self) -> None:
        """It has waited for a while: look after its client and its deadline."""


class Turns:
    """One event loop's way into an engine."""

    def __init__(self, engine: Engine, metrics: Metrics) -> None:
        self._engine = engine
        self._metrics = metrics
        self._loop: asyncio.AbstractEventLoop
        self._thread = 0
        self._brought: list[Ticket] = []
        self._ended: deque[Ticket] = deque()
        self._called = False
        self._new: set[Waiting] = set()
        self._old: set[Waiting] = set()
        self._looks = False

    def submit(self, ticket: Ticket) -> None:
        """Take a job in, which is begun when this turn's requests have brought theirs. Raises NotReady."""
        self._engine.take_in(ticket)
        if not self._brought:
            self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
            self._loop.call_soon(self._hand_over)
        self._brought.append(ticket)

    def _hand_over(self) -> None:
        tickets, self._brought = self._brought, []
        # With others on their way the event loop has enough to do, and a batch of theirs is better.
        self._engine.begin(tickets, alone=self._metrics.under_way == 1)

    def ended(self, ticket: Ticket) -> None:
        """Tell the request of a ticket's end, on the event loop. Called on any thread: a ticket's on_done."""
        if threading.get_ident() == self._thread:
            ticket.group.settle(ticket)
            return
        self._ended.append(ticket)
        if not self._called:  # a call under way takes along whatever has ended until it looks
            self._called = True
            with suppress(RuntimeError):  # the event loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        self._called = False
        while self._ended:
            ticket = self._ended.popleft()
            ticket.group.settle(ticket)

    def wait(self, request: Waiting) -> None:
        """Have a request told to watch when it has waited for LOOK_SECONDS, twice as much at most; most are faster."""
        self._new.add(request)
        if not self._looks:
            self._looks = True
            self._loop.call_later(LOOK_SECONDS, self._look)

    def leave(self, request: Waiting) -> None:
        """A request waits no more."""
        self._new.discard(request)
        self._old.discard(request)

    def _look(self) -> None:
        for request in self._old:
            request.watch()
        self._old, self._new = self._new, set()
        self._looks = bool(self._old)
        if self._looks:
            self._loop.call_later(LOOK_SECONDS, self._look)
