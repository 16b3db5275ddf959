"""What is written to a connection in one turn of the event loop leaves in one piece, at its end.

The server writes an answer's head and its body one after the other, and each would be a call of the system and a packet of
its own, which wakes the client twice. The answers of a crowd leave together too. And it looks at each header of a head by
itself; that of an answer which comes whole is put together and looked at in one go.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from starlette.types import ASGIApp, Message
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import (
    HEADER_RE,
    HEADER_VALUE_RE,
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

MOST_BYTES = 64 * 1024
"""More is not held back: whoever writes much is to be told when the client does not keep up."""
_LENGTH = b"content-length"
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
        self.writelines((data,))

    def writelines(self, parts: Iterable[bytes]) -> None:
        """Write several parts, as write() does."""
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts += parts
        self._bytes += sum(map(len, parts))
        if self._bytes > MOST_BYTES:
            self._flush()

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


class Cycle(RequestResponseCycle):
    """One request of a connection and its answer. A head that tells its body's length waits for the body, as ASGI asks for;
    where that is whole, both are written here, and in all other cases by the server."""

    _head: Message | None = None

    async def send(self, message: Message) -> None:  # type: ignore[override]
        """Take a part of the answer."""
        head, self._head = self._head, None
        if message["type"] == "http.response.start":
            if not self.response_started and _LENGTH in dict(message["headers"]):
                self._head = message
                return
        elif head is not None:
            if self._written(head, message):
                return
            await super().send(head)  # type: ignore[arg-type]
        await super().send(message)  # type: ignore[arg-type]

    def _written(self, head: Message, message: Message) -> bool:
        """Write an answer, if this is all of it, and there is nothing about it that the server would have to see to."""
        headers, body = [*self.default_headers, *head["headers"]], message.get("body", b"")
        names, values = zip(*headers, strict=True)
        all_names = b"".join(names)
        if (
            message.get("more_body")
            or values[names.index(_LENGTH)] != b"%d" % len(body)
            or not _STEERING.isdisjoint(names)
            or not all_names.islower()
            or HEADER_RE.search(all_names)
            or HEADER_VALUE_RE.search(b"".join(values))
            or not self.keep_alive
            or self.scope["method"] == "HEAD"
            or self.access_log
            or self.disconnected
            or self.flow.write_paused
        ):
            return False
        lines = b"\r\n".join(map(b": ".join, headers))
        self.transport.writelines((b"%b%b\r\n\r\n" % (STATUS_LINE[head["status"]], lines), body))
        self.waiting_for_100_continue = False
        self.response_started = self.response_complete = True
        self.message_event.set()
        self.on_response()
        return True


class Connection(HttpToolsProtocol):
    """A connection of the server's that writes in one piece, and does nothing for each request that nobody wants: a line for
    its log, and the client's address and scheme by the headers of a proxy."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.access_log = self.access_log and self.access_logger.isEnabledFor(logging.INFO)
        if isinstance(self.app, ProxyHeadersMiddleware):
            self.app = self.app.app

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.transport = Gathering(transport)  # type: ignore[assignment]

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGIApp) -> None:  # type: ignore[override]
        cycle.__class__ = Cycle
        super()._start_asgi_task(cycle, app)  # type: ignore[arg-type]
