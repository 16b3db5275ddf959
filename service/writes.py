"""What is written to a connection in one turn of the event loop leaves in one piece, at its end.

The server writes an answer's head and its body one after the other, and each would be a call of the system and a packet of
its own, which wakes the client twice. The answers of a crowd leave together too.
"""

import asyncio
import logging
from typing import Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_BYTES = 64 * 1024
"""More is not held back: whoever writes much is to be told when the client does not keep up."""


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
