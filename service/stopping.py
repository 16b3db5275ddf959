"""From SIGTERM to the end of the process: what was taken in is answered, what comes now is refused at once.

    SIGTERM ─▶ new requests get 503, and every answer says `Connection: close`
            ─▶ nothing is under way, or the time is up and what is left is given up (503)
            ─▶ the listening socket closes: connections are refused
            ─▶ the server's own handler of the signal, which ends the process

The server's own handler alone resets connections: idle ones on which a request is just coming in, and, where a parent process
shares the listening socket, all those that the kernel still accepts for a worker that will never look at them.
"""

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator

import uvicorn

log = logging.getLogger("amostra")

_SET_PARENT_DEATH_SIGNAL = 1
_LOOK_SECONDS = 0.02
_SETTLE_SECONDS = 0.25
"""For requests on connections that were there before the listening socket closed."""
_GIVEN_UP_SECONDS = 2.0
"""For the answers of those that were given up."""


def server_here() -> uvicorn.Server | None:
    """The server of this process, whose handler of SIGTERM was not taken over yet."""
    owner = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return owner if isinstance(owner, uvicorn.Server) else None


def end_with_parent() -> None:
    """Have SIGTERM sent to this process when the one that started it ends."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)  # on Linux
    if prctl is not None:
        parent = os.getppid()
        prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it ended just now
            os.kill(os.getpid(), signal.SIGTERM)


class Stopping:
    """Stands between SIGTERM and the server's handler of it. Until `begun` it does nothing at all."""

    def __init__(self) -> None:
        self.begun = False
        self._task: asyncio.Task[None] | None = None

    def take_over(
        self, seconds: float, under_way: Callable[[], int], give_up: Callable[[], None], halt: Callable[[], None]
    ) -> None:
        """Handle SIGTERM from now on, in this event loop. `under_way` counts requests; `give_up` ends with an error what
        is left of them after so many `seconds`, and may block; `halt` ends at once what goes on at the next start.

        Only a main thread can handle signals: elsewhere, as in tests, nothing is taken over.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()
        before = signal.getsignal(signal.SIGTERM)
        server = server_here()

        def end() -> None:
            signal.signal(signal.SIGTERM, before)
            if callable(before):
                before(signal.SIGTERM, None)

        def begin() -> None:
            if self._task is not None:  # asked twice: now
                end()
                return
            self.begun = True
            halt()
            self._task = loop.create_task(self._stop(seconds, under_way, give_up, server, end))

        signal.signal(signal.SIGTERM, lambda *_: loop.call_soon_threadsafe(begin))

    async def _stop(
        self,
        seconds: float,
        under_way: Callable[[], int],
        give_up: Callable[[], None],
        server: uvicorn.Server | None,
        end: Callable[[], None],
    ) -> None:
        log.info("stopping: %d requests are under way, new ones are refused", under_way())
        if not await _until(lambda: not under_way(), seconds):
            log.warning("stopping: %d requests are not over after %g s and are given up", under_way(), seconds)
            await asyncio.to_thread(give_up)
            await _until(lambda: not under_way(), _GIVEN_UP_SECONDS)
        if server is not None:
            await _close(server)
            await asyncio.sleep(_SETTLE_SECONDS)
        end()


async def _until(true: Callable[[], bool], seconds: float) -> bool:
    """Wait for something, at most so long; whether it came."""
    end = asyncio.get_running_loop().time() + seconds
    while not true():
        if asyncio.get_running_loop().time() >= end:
            return False
        await asyncio.sleep(_LOOK_SECONDS)
    return True


async def _close(server: uvicorn.Server) -> None:
    """Close the listening sockets for all processes that have them, and take in whoever the kernel has already let in."""
    loop = asyncio.get_running_loop()
    for listener in server.servers:
        shared = [socket.socket(fileno=os.dup(one.fileno())) for one in listener.sockets]
        listener.close()
        for one in shared:
            with one:
                waiting = list(_accepted(one))
                with contextlib.suppress(OSError):  # elsewhere than on Linux it is enough that nobody has it any more
                    one.shutdown(socket.SHUT_RDWR)
            for connection in waiting:
                await loop.connect_accepted_socket(
                    lambda: server.config.http_protocol_class(  # type: ignore[call-arg]
                        config=server.config, server_state=server.server_state, app_state=server.lifespan.state
                    ),
                    connection,
                )


def _accepted(listening: socket.socket) -> Iterator[socket.socket]:
    listening.setblocking(False)
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listening.accept()
            connection.setblocking(False)
            yield connection
