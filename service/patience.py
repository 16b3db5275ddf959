"""Ends connections of clients that are too slow: with a request's head, with its body, in reading an answer, or with the next
request on a connection that is kept.

The server bounds only the last of them, by a timer for each request, which is not used (writes.py). Connections are looked
at once a second, and the kernel is asked how much has moved, so that a request costs nothing. Time is counted by the looks:
a server that was stopped for a while blames nobody.
"""

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import uvicorn

from service.heads import BoundedHeads

log = logging.getLogger("amostra.http")

BYTES_PER_SECOND = 1000
"""A body or an answer that is at least so fast may take as long as it takes."""
_LOOK_SECONDS = 1.0
_COUNTERS = 120
"""Where Linux' tcp_info has the bytes that the peer has acknowledged and those that it has sent, 8 bytes each."""

Part = Literal["head", "body", "answer", "next"]


@dataclass(frozen=True, slots=True)
class _Wait:
    """Since when a connection waits for its client, later by what has moved, and how much had moved at the last look."""

    part: Part
    cycle: Any
    since: float
    moved: int


class Patience:
    """Looks at the connections of a server. A head may take so many `seconds`; a body and an answer may be so far behind
    BYTES_PER_SECOND, and what went fast before gives no more time. `on_end` is told of what a client was too slow with. Between
    two requests a connection is kept for as long as the server's configuration says."""

    def __init__(self, server: uvicorn.Server, seconds: float, on_end: Callable[[Part], None]) -> None:
        self._server = server
        self._seconds = seconds
        self._on_end = on_end
        self._waits: dict[Any, _Wait] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look from now on, in this event loop."""
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        pause, now, last = min(_LOOK_SECONDS, self._seconds / 4), 0.0, loop.time()
        while True:
            await asyncio.sleep(pause)
            now += min(loop.time() - last, 2 * pause)
            last = loop.time()
            try:
                self._look(now)
            except Exception:  # the server's insides may change: a service without patience is better than none
                log.exception("slow clients could not be looked for")
                return

    def _look(self, now: float) -> None:
        waits: dict[Any, _Wait] = {}
        for connection in [c for c in self._server.server_state.connections if isinstance(c, BoundedHeads)]:
            part = _waits_for(connection)
            if part is None:
                continue
            moved, wait = _moved(connection, part), self._waits.get(connection)
            if wait is None or wait.part != part or wait.cycle is not connection.cycle:
                wait = _Wait(part, connection.cycle, now, moved)
            since = min(now, wait.since + (moved - wait.moved) / BYTES_PER_SECOND)
            if now - since <= (self._server.config.timeout_keep_alive if part == "next" else self._seconds):
                waits[connection] = _Wait(part, wait.cycle, since, moved)
            elif part == "next":
                connection.transport.close()
            else:
                connection.transport.abort()
                self._on_end(part)
        self._waits = waits


def _waits_for(connection: BoundedHeads) -> Part | None:
    """What the client of a connection has to do next; None where it is our turn, or nobody's."""
    cycle = connection.cycle
    if connection.transport.get_write_buffer_size():
        return "answer"
    if cycle is None:
        return "head"
    if cycle.response_complete:
        return "head" if connection.in_head else "next"
    return "body" if cycle.more_body and not cycle.body else None


def _moved(connection: BoundedHeads, part: Part) -> int:
    """Bytes of a body that have come, or of an answer that were read; a head's count nothing."""
    if part in ("head", "next"):
        return 0
    with contextlib.suppress(OSError, AttributeError, struct.error):  # elsewhere than on Linux
        info = connection.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        read, sent = struct.unpack_from("=QQ", info, _COUNTERS)
        return read if part == "answer" else sent
    return 0
