"""What a turn of the event loop writes leaves in one piece, and nothing is held back for longer."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from service.writes import MOST_BYTES, Connection, Gathering


class FakeTransport:
    """Writes down each piece that leaves."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.closed = False

    def writelines(self, parts: Sequence[bytes]) -> None:
        assert not self.closed
        self.pieces.append(b"".join(parts))

    def get_write_buffer_size(self) -> int:
        return 7

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def get_extra_info(self, name: str) -> str:
        return f"of the transport: {name}"


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
        assert writes.get_extra_info("socket") == "of the transport: socket"

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


@pytest.mark.parametrize("proxy_headers", [True, False])
def test_nothing_stands_between_a_connection_and_the_application(proxy_headers: bool) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None: ...

    async def connect() -> Connection:
        config = uvicorn.Config(application, proxy_headers=proxy_headers, log_config=None)
        config.load()
        return Connection(config, ServerState(), {})

    assert asyncio.run(connect()).app is application
