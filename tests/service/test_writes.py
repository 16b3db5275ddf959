"""What a turn of the event loop writes leaves in one piece, and nothing is held back for longer."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from service.api.answer import WHOLE
from service.heads import BoundedHeads
from service.patience import Patience
from service.writes import MOST_BYTES, Connection, Gathering


class FakeTransport:
    """Writes down each piece that leaves."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.closed = False

    def writelines(self, parts: Sequence[bytes]) -> None:
        assert not self.closed
        self.pieces.append(b"".join(parts))

    def write(self, data: bytes) -> None:
        self.writelines([data])

    def resume_reading(self) -> None: ...

    def pause_reading(self) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 7

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def get_extra_info(self, name: str) -> str | None:
        return f"of the transport: {name}" if name == "cipher" else None


@pytest.fixture
def under() -> FakeTransport:
    return FakeTransport()


def test_in_order_and_in_one_piece(under: FakeTransport) -> None:
    async def talk() -> None:
        writes: Any = Gathering(under)  # type: ignore[arg-type]
        writes.write(b"head")
        writes.write(b"body")
        assert under.pieces == []
        assert writes.get_write_buffer_size() == 7 + 8
        await asyncio.sleep(0)
        assert under.pieces == [b"headbody"]
        writes.write(b"more")
        await asyncio.sleep(0)
        assert under.pieces == [b"headbody", b"more"]
        assert writes.get_extra_info("cipher") == "of the transport: cipher"

    asyncio.run(talk())


def test_much_leaves_at_once(under: FakeTransport) -> None:
    async def talk() -> None:
        writes: Any = Gathering(under)  # type: ignore[arg-type]
        writes.write(b"head")
        writes.write(b"x" * MOST_BYTES)
        assert under.pieces == [b"head" + b"x" * MOST_BYTES]
        writes.write(b"end")
        await asyncio.sleep(0)
        assert b"".join(under.pieces) == b"head" + b"x" * MOST_BYTES + b"end"

    asyncio.run(talk())


def test_what_was_written_leaves_before_it_is_closed_and_nothing_after(under: FakeTransport) -> None:
    async def talk() -> None:
        writes: Any = Gathering(under)  # type: ignore[arg-type]
        writes.write(b"refusal")
        writes.close()
        assert (under.pieces, under.closed) == ([b"refusal"], True)
        writes.write(b"late")
        await asyncio.sleep(0)
        assert under.pieces == [b"refusal"]

    asyncio.run(talk())


def test_what_is_whole_leaves_at_once_and_after_what_was_written(under: FakeTransport) -> None:
    async def talk() -> None:
        writes: Any = Gathering(under)  # type: ignore[arg-type]
        writes.write(b"first")
        writes.write_whole((b"head", b"body"))
        assert b"".join(under.pieces) == b"firstheadbody"
        writes.close()
        writes.write_whole((b"late",))
        await asyncio.sleep(0)
        assert b"".join(under.pieces) == b"firstheadbody"

    asyncio.run(talk())


@pytest.mark.parametrize("proxy_headers", [True, False])
def test_nothing_stands_between_a_connection_and_the_application(proxy_headers: bool) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None: ...

    async def connect() -> Connection:
        config = uvicorn.Config(application, proxy_headers=proxy_headers, log_config=None)
        config.load()
        return Connection(config, ServerState(), {})

    assert asyncio.run(connect()).app is application


def answer(status: int, headers: list[tuple[bytes, bytes]], *parts: bytes) -> ASGIApp:
    """An application that answers every request so."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for i, part in enumerate(parts):
            await send({"type": "http.response.body", "body": part, "more_body": i < len(parts) - 1})

    return application


def at_once(headers: list[tuple[bytes, bytes]], body: bytes, times: int = 1) -> ASGIApp:
    """One that answers in one message, where the server takes such, and so many times."""
    in_two = answer(200, headers, body)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(times):
            if WHOLE in scope.get("extensions", {}):
                await send({"type": WHOLE, "status": 200, "headers": headers, "body": body})
            else:
                await in_two(scope, receive, send)

    return application


async def connected(kind: type[HttpToolsProtocol], application: ASGIApp, under: FakeTransport) -> HttpToolsProtocol:
    config = uvicorn.Config(application, log_config=None, server_header=False)
    config.load()
    state = ServerState()
    state.default_headers = [(b"date", b"Sat, 21 Nov 2026 23:10:43 GMT")]
    connection = kind(config, state, {})
    connection.connection_made(under)  # type: ignore[arg-type]
    return connection


LONG = b"x" * (MOST_BYTES + 1)
LENGTH = (b"content-length", b"4")
ANSWERS = {
    "whole": answer(200, [LENGTH, (b"x-a", b"b%s")], b"body"),
    "nothing": answer(204, [(b"content-length", b"0")], b""),
    "long": answer(200, [(b"content-length", b"%d" % len(LONG))], LONG),
    "two headers of a name": answer(200, [(b"vary", b"a"), LENGTH, (b"vary", b"b")], b"body"),
    "in parts, with its length": answer(200, [LENGTH], b"bo", b"dy"),
    "in parts": answer(200, [(b"x-a", b"b")], b"bo", b"dy"),
    "the last": answer(200, [LENGTH, (b"connection", b"close")], b"body"),
    "upper case": answer(200, [(b"Content-Length", b"4"), (b"X-A", b"b")], b"body"),
    "one in upper case": answer(200, [LENGTH, (b"Connection", b"close")], b"body"),
    "too short": answer(200, [(b"content-length", b"5")], b"body"),
    "too long": answer(200, [(b"content-length", b"3")], b"body"),
    "a line in a value": answer(200, [LENGTH, (b"x-a", b"b\r\nx-c: d")], b"body"),
    "a line in a name": answer(200, [LENGTH, (b"x-a\r\nx-c", b"d")], b"body"),
    "a head alone": answer(200, [LENGTH]),
    "at once": at_once([LENGTH, (b"x-a", b"b%s")], b"body"),
    "at once, the last": at_once([LENGTH, (b"connection", b"close")], b"body"),
    "at once, twice": at_once([LENGTH], b"body", times=2),
    "at once, too short": at_once([(b"content-length", b"5")], b"body"),
    "at once, a line in a value": at_once([LENGTH, (b"x-a", b"b\r\nx-c: d")], b"body"),
}
REQUEST = b"%s / HTTP/1.%d\r\nhost: a\r\n\r\n"


@pytest.mark.parametrize("request_head", [REQUEST % (b"GET", 1), REQUEST % (b"HEAD", 1), REQUEST % (b"GET", 0)])
@pytest.mark.parametrize("application", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_is_what_the_server_would_write(application: ASGIApp, request_head: bytes) -> None:
    async def exchange(kind: type[HttpToolsProtocol]) -> tuple[bytes, bool]:
        under = FakeTransport()
        connection = await connected(kind, application, under)
        connection.data_received(request_head)
        for _ in range(9):
            await asyncio.sleep(0)
        return b"".join(under.pieces), under.closed

    expected = asyncio.run(exchange(HttpToolsProtocol))
    if application is ANSWERS["a head alone"]:
        # The server had sent the head when it saw that nothing follows, and could only close.
        assert asyncio.run(exchange(BoundedHeads))[0].startswith(b"HTTP/1.1 500")
    else:
        assert asyncio.run(exchange(BoundedHeads)) == expected


def test_answers_come_in_the_order_of_their_requests(under: FakeTransport) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].encode()
        await answer(200, [(b"content-length", b"%d" % len(path))], path)(scope, receive, send)

    async def exchange() -> None:
        connection = await connected(BoundedHeads, application, under)
        connection.data_received(b"".join(b"GET /%d HTTP/1.1\r\n\r\n" % i for i in range(3)))
        for _ in range(20):
            await asyncio.sleep(0)

    asyncio.run(exchange())
    assert [piece[-2:] for piece in b"".join(under.pieces).split(b"HTTP/1.1 200 OK")[1:]] == [b"/0", b"/1", b"/2"]


def test_a_connection_is_kept_for_as_long_as_it_says_and_no_longer(under: FakeTransport) -> None:
    async def exchange() -> None:
        connection = await connected(BoundedHeads, ANSWERS["whole"], under)
        server: Any = SimpleNamespace(server_state=connection.server_state, config=connection.config)
        ended: list[str] = []
        patience = Patience(server, 1.0, ended.append)
        kept, under.get_write_buffer_size = connection.config.timeout_keep_alive, lambda: 0  # type: ignore[method-assign]
        for begin in (0, kept):  # a request begins the time anew
            connection.data_received(REQUEST % (b"GET", 1))
            for _ in range(9):
                await asyncio.sleep(0)
            patience._look(begin)
            patience._look(begin + kept)
            assert not under.closed
        patience._look(2 * kept + 1)
        assert under.closed
        assert not ended

    asyncio.run(exchange())
