"""What is written to a connection in one turn of the event loop leaves in one piece, at its end.

The server writes an answer's head and its body one after the other, and each would be a call of the system and a packet of
its own, which wakes the client twice. The answers of a crowd leave together too. And it looks at each header of a head by
itself; that of an answer which comes whole is looked at and put together in one go.
"""

import asyncio
import logging
from collections.abc import Awaitable
from functools import lru_cache
from typing import Any, NamedTuple

from starlette.types import Message, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import (
    HEADER_RE,
    HEADER_VALUE_RE,
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from service.api.answer import WHOLE

MOST_BYTES = 64 * 1024
"""More is not held back: whoever writes much is to be told when the client does not keep up."""
_EXTENSIONS: dict[str, dict] = {WHOLE: {}}
_LENGTH = b"content-length"
_SOUND = bytes(byte for byte in range(256) if not HEADER_VALUE_RE.search(bytes([byte])))
"""What a header's value may have; all else is the server's to refuse."""
_STEERING = {b"connection", b"transfer-encoding"}
"""Headers that say how the connection goes on, which is the server's to decide."""


class Gathering:
    """A transport that gathers what is written to it; in all else the one that it was made of."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._parts: list[bytes] = []
        self._bytes = 0
        self.is_closing = transport.is_closing  # asked for with every request

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write at the end of this turn, or at once where it is much."""
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)
        self._bytes += len(data)
        if self._bytes > MOST_BYTES:
            self._flush()

    def write_whole(self, parts: tuple[bytes, ...]) -> None:
        """Write what nothing belongs to that follows: at once, after what was written before."""
        self._flush()
        if not self.is_closing():
            self._transport.writelines(parts)

    def get_write_buffer_size(self) -> int:
        """Bytes that are still to be sent."""
        return self._bytes + self._transport.get_write_buffer_size()

    def close(self) -> None:
        """Send what was written, and close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        parts, self._parts, self._bytes = self._parts, [], 0
        if parts and not self._transport.is_closing():
            self._transport.writelines(parts)


class Answer:
    """The answer of one request. A head that tells its body's length waits for the body, as ASGI asks for; where that is
    whole, both are written here, and in all other cases by the server."""

    __slots__ = ("_cycle", "_head")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle: Any = cycle
        self._head: Message | None = None

    async def send(self, message: Message) -> None:
        """Take a part of it, or all."""
        if message["type"] == WHOLE:
            if self._cycle.response_started or not self._written(message, message):
                await self._cycle.send({**message, "type": "http.response.start"})
                await self._cycle.send({"type": "http.response.body", "body": message["body"]})
            return
        head, self._head = self._head, None
        if message["type"] == "http.response.start":
            if not self._cycle.response_started and _LENGTH in dict(message.get("headers", ())):
                self._head = message
                return
        elif head is not None:
            if self._written(head, message):
                return
            await self._cycle.send(head)
        await self._cycle.send(message)

    def _written(self, head: Message, message: Message) -> bool:
        """Write all of it, if it is whole and there is nothing that the server would have to see to."""
        cycle, body = self._cycle, message.get("body", b"")
        names, values = zip(*cycle.default_headers, *head["headers"], strict=True)
        known = _form(names)
        if (
            known is None
            or message.get("more_body")
            or values[known.length] != b"%d" % len(body)
            or b"".join(values).translate(None, _SOUND)
            or not cycle.keep_alive
            or cycle.scope["method"] == "HEAD"
            or cycle.access_log
            or cycle.disconnected
            or cycle.flow.write_paused
        ):
            return False
        cycle.transport.write_whole((STATUS_LINE[head["status"]], known.lines % values, body))
        cycle.waiting_for_100_continue = False
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        cycle.on_response()
        return True


class _Form(NamedTuple):
    """The `lines` of a head, values left out, and which of them is the body's `length`."""

    lines: bytes
    length: int


@lru_cache(256)
def _form(names: tuple[bytes, ...]) -> _Form | None:
    """The form of a head with these headers, of which there are few; None where the server has to see to one of them."""
    if any(HEADER_RE.search(name) or name != name.lower() or name in _STEERING for name in names):
        return None
    return _Form(b"".join(name.replace(b"%", b"%%") + b": %b\r\n" for name in names) + b"\r\n", names.index(_LENGTH))


class Connection(HttpToolsProtocol):
    """A connection of the server's that writes in one piece, and does nothing for each request that nobody wants: a line for
    its log, the client's address and scheme by the headers of a proxy, and a timer for the next request (patience.py)."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.access_log = self.access_log and self.access_logger.isEnabledFor(logging.INFO)
        if isinstance(self.app, ProxyHeadersMiddleware):
            self.app = self.app.app

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.transport = Gathering(transport)  # type: ignore[assignment]

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        def answering(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
            scope["extensions"] = _EXTENSIONS
            return app(scope, receive, Answer(cycle).send)

        super()._start_asgi_task(cycle, answering)  # type: ignore[arg-type]

    def on_response_complete(self) -> None:
        """Go on with the next request, if it is there."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
