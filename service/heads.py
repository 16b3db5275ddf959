"""Request heads have a largest size: the server's fast parser takes any, and a gigabyte of header would be kept in memory."""

import logging
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.writes import Connection

log = logging.getLogger("amostra.http")

MAX_BYTES = 64 * 1024
_REFUSAL = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class BoundedHeads(Connection):
    """A connection that is ended where a head is too large."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.in_head = True
        self._head_bytes = 0

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_BYTES and not self.transport.is_closing():
                self.transport.write(_REFUSAL)
                self.transport.close()

    def on_message_begin(self) -> None:
        self.in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self.in_head = False
        super().on_headers_complete()


def bound(server: uvicorn.Server) -> None:
    """Bound the heads of the connections that come from now on."""
    if server.config.http_protocol_class is not HttpToolsProtocol:
        log.warning("request heads are not bounded: expected httptools' parser: install the [serve] extra")
        return
    server.config.http_protocol_class = BoundedHeads
