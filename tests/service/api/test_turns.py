"""The event loop's way into the engine: what a turn brings goes over together, and everybody is told of their own end."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from service.api.turns import LOOK_SECONDS, Turns
from service.engine.batch import INTERACTIVE
from service.engine.ticket import Ticket
from service.errors import NotReady
from service.metrics import Metrics


class FakeEngine:
    """Ends what it is given when it is told to: here, or on a thread of its own."""

    def __init__(self) -> None:
        self.taken: list[Ticket] = []
        self.begun: list[tuple[int, bool]] = []
        self.closed = False
        self.end_at_once = False

    def take_in(self, ticket: Ticket) -> None:
        if self.closed:
            raise NotReady("closed")
        self.taken.append(ticket)

    def begin(self, tickets: Sequence[Ticket], *, alone: bool) -> None:
        self.begun.append((len(tickets), alone))
        if self.end_at_once:
            self.end(tickets)

    def end(self, tickets: Sequence[Ticket]) -> None:
        for ticket in tickets:
            ticket.on_done(ticket)

    def end_elsewhere(self, tickets: Sequence[Ticket]) -> None:
        thread = threading.Thread(target=self.end, args=(tickets,))
        thread.start()
        thread.join()


@dataclass(eq=False)
class Request:
    """Writes down what it is told, and on which thread."""

    settled: list[Ticket] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)
    watched: list[float] = field(default_factory=list)

    def settle(self, ticket: Ticket) -> None:
        self.settled.append(ticket)
        self.threads.add(threading.get_ident())

    def watch(self) -> None:
        self.watched.append(time.monotonic())


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def turns(engine: FakeEngine, metrics: Metrics) -> Turns:
    return Turns(engine, metrics)  # type: ignore[arg-type]


def ticket_of(turns: Turns, request: Request) -> Ticket:
    return Ticket(None, None, 1.0, INTERACTIVE, turns.ended, request)  # type: ignore[arg-type]


def in_a_loop(talk: Callable[[], Awaitable[Any]]) -> Any:
    async def held() -> Any:
        return await talk()

    return asyncio.run(held())


def test_what_one_turn_brings_is_handed_over_together(turns: Turns, engine: FakeEngine) -> None:
    async def talk() -> None:
        async def one() -> None:
            turns.submit(ticket_of(turns, Request()))

        await asyncio.gather(*(one() for _ in range(16)))
        assert len(engine.taken) == 16, "each is counted in at once, so that a full queue refuses the next"
        await asyncio.sleep(0)
        await one()
        await asyncio.sleep(0)

    in_a_loop(talk)
    assert [count for count, _ in engine.begun] == [16, 1]


@pytest.mark.parametrize("under_way", [1, 2])
def test_one_is_alone_where_no_other_request_is_under_way(
    turns: Turns, engine: FakeEngine, metrics: Metrics, under_way: int
) -> None:
    metrics.under_way = under_way

    async def talk() -> None:
        turns.submit(ticket_of(turns, Request()))
        await asyncio.sleep(0)

    in_a_loop(talk)
    assert engine.begun == [(1, under_way == 1)]


def test_each_is_told_of_its_own_end_on_the_event_loop(turns: Turns, engine: FakeEngine) -> None:
    requests = [Request() for _ in range(8)]

    async def talk() -> None:
        tickets = [ticket_of(turns, request) for request in requests]
        for ticket in tickets:
            turns.submit(ticket)
        await asyncio.sleep(0)
        engine.end_elsewhere(tickets[:5])
        assert not any(request.settled for request in requests), "told on the loop's thread only"
        await asyncio.sleep(0.01)
        engine.end_elsewhere(tickets[5:])
        await asyncio.sleep(0.01)
        assert [request.settled for request in requests] == [[ticket] for ticket in tickets]
        assert {thread for request in requests for thread in request.threads} == {threading.get_ident()}

    in_a_loop(talk)


def test_one_call_tells_of_all_that_ended_meanwhile(turns: Turns, engine: FakeEngine) -> None:
    async def talk() -> int:
        loop, calls = asyncio.get_running_loop(), []
        original = loop.call_soon_threadsafe
        loop.call_soon_threadsafe = lambda *what: (calls.append(what), original(*what))[1]  # type: ignore[method-assign]
        request = Request()
        tickets = [ticket_of(turns, request) for _ in range(32)]
        for ticket in tickets:
            turns.submit(ticket)
        await asyncio.sleep(0)
        engine.end_elsewhere(tickets)
        await asyncio.sleep(0.01)
        assert request.settled == tickets
        return len(calls)

    assert in_a_loop(talk) == 1


def test_what_ends_while_it_is_handed_over_is_told_at_once(turns: Turns, engine: FakeEngine) -> None:
    engine.end_at_once = True

    async def talk() -> None:
        request = Request()
        turns.submit(ticket_of(turns, request))
        await asyncio.sleep(0)
        assert len(request.settled) == 1

    in_a_loop(talk)


def test_none_is_lost_among_many_threads(turns: Turns, engine: FakeEngine) -> None:
    async def talk() -> None:
        request = Request()
        tickets = [ticket_of(turns, request) for _ in range(2000)]
        for ticket in tickets:
            turns.submit(ticket)
        await asyncio.sleep(0)
        threads = [threading.Thread(target=engine.end, args=(tickets[i::4],)) for i in range(4)]
        for thread in threads:
            thread.start()
        async with asyncio.timeout(20):
            while len(request.settled) < 2000:
                await asyncio.sleep(0.001)
        assert set(request.settled) == set(tickets)

    in_a_loop(talk)


def test_a_stopped_engine_refuses_and_nothing_is_handed_over(turns: Turns, engine: FakeEngine) -> None:
    engine.closed = True

    async def talk() -> None:
        with pytest.raises(NotReady):
            turns.submit(ticket_of(turns, Request()))
        await asyncio.sleep(0)

    in_a_loop(talk)
    assert engine.begun == []


def test_an_end_after_the_loop_was_closed_is_harmless(turns: Turns, engine: FakeEngine) -> None:
    ticket = ticket_of(turns, Request())

    async def talk() -> None:
        turns.submit(ticket)

    in_a_loop(talk)
    engine.end_elsewhere([ticket])


def test_those_who_wait_for_long_are_told_to_watch_once_and_no_others(turns: Turns) -> None:
    slow, quick = Request(), Request()

    async def talk() -> float:
        turns.submit(ticket_of(turns, slow))
        start = time.monotonic()
        turns.wait(slow)
        turns.wait(quick)
        await asyncio.sleep(LOOK_SECONDS / 4)
        turns.leave(quick)
        await asyncio.sleep(6 * LOOK_SECONDS)
        return start

    start = in_a_loop(talk)
    assert len(slow.watched) == 1
    assert slow.watched[0] - start >= LOOK_SECONDS
    assert quick.watched == []
