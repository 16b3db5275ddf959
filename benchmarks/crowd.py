"""Clients of every sort: those that ask and wait, and those that leave, send garbage, stall, or do not read.

A good client speaks HTTP by hand on a connection of its own and reads to the end of it, so that an answer that is missing,
cut short or there twice is seen.
"""

import asyncio
import itertools
import json
import random
import re
import socket
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.load import Request

HEAD = {"content-type": "application/json", "connection": "close"}
_PATIENCE_SECONDS = 200.0
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)

Asks = Mapping[str, Callable[[int], Request]]
"""What good clients ask for, each with a number that makes it unlike the others."""


@dataclass
class Seen:
    """How requests ended: good ones by what they asked for, all by their status, and what went wrong."""

    good: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    last: float = 0.0  # when the last good answer had come, by time.monotonic()
    lost: list[str] = field(default_factory=list)
    bad: Counter[str] = field(default_factory=Counter)


class Crowd:
    """Clients of one server, of which `seen` tells what became of them."""

    def __init__(self, port: int, asks: Asks, seed: int = 0) -> None:
        self._port = port
        self._asks = asks
        self._chance = random.Random(seed)
        self._numbers = itertools.count()
        self.seen = Seen()

    async def closed(self, clients: int, seconds: float, kinds: list[str]) -> float:
        """So many good clients, each with one request under way all the time. Returns how long it took."""
        start = time.monotonic()
        until = start + seconds

        async def again() -> None:
            while time.monotonic() < until:
                await self._good(self._chance.choice(kinds))

        await asyncio.gather(*(again() for _ in range(clients)))
        return time.monotonic() - start

    async def open(self, rates: Mapping[str, float], seconds: float) -> None:
        """Good and bad clients that come at these rates (per second), whether or not the others were served. Returns when
        the last of them has left."""
        sorts = {"leave": self._leave, "garbage": self._garbage, "stall": self._stall, "unread": self._unread}
        names, weights = list(rates), list(rates.values())
        under_way: set[asyncio.Task[None]] = set()
        now, until = time.monotonic(), time.monotonic() + seconds
        while now < until:
            name = self._chance.choices(names, weights)[0]
            client: Coroutine[Any, Any, None] = sorts[name]() if name in sorts else self._good(name)
            task = asyncio.create_task(client)
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            now += self._chance.expovariate(sum(weights))
            await asyncio.sleep(max(0.0, now - time.monotonic()))
        await asyncio.gather(*under_way)

    def _make(self, kind: str) -> Request:
        return self._asks[kind](next(self._numbers))

    async def _good(self, kind: str) -> None:
        """Ask, and read to the end."""
        start = time.monotonic()
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                writer.write(self._make(kind).wire)
                answer = await reader.read()
                writer.close()
        except (OSError, TimeoutError) as error:
            self.seen.lost.append(f"{kind}: {type(error).__name__}")
            return
        head, _, body = answer.partition(b"\r\n\r\n")
        length = _LENGTH.search(head + b"\r\n")
        if not answer.startswith(b"HTTP/1.1 ") or length is None or len(body) != int(length[1]):
            self.seen.lost.append(f"{kind}: {len(answer)} bytes, {answer[:60]!r}")
            return
        status = int(answer[9:12])
        self.seen.statuses[status] += 1
        if status == 200:
            self.seen.good[kind] += 1
            self.seen.last = time.monotonic()
            self.seen.seconds.append(self.seen.last - start)

    async def _leave(self) -> None:
        """Ask for something, and go before it is there."""
        await self._bad("leave", self._make(self._chance.choice(list(self._asks))).wire, self._chance.random() * 0.3)

    async def _garbage(self) -> None:
        """Send what makes no sense, in one of several ways."""
        noise = self._chance.randbytes(self._chance.randrange(1, 3000))
        sound = self._make(self._chance.choice(list(self._asks))).wire
        sent = self._chance.choice(
            [
                noise,
                Request("/v1/images/denoise", noise, {"content-type": "image/png", "connection": "close"}).wire,
                Request("/v1/score", b'{"inputs": ' + noise, HEAD).wire,
                Request("/v1/completions", b"[" * 2000, HEAD).wire,
                Request("/v1/images/generations", json.dumps({"n": 10**9}).encode(), HEAD).wire,
                sound.replace(b"POST", b"BREW", 1),
                bytes(byte ^ (self._chance.random() < 0.02) for byte in sound),
            ]
        )
        await self._bad("garbage", sent, 5.0)

    async def _stall(self) -> None:
        """Begin a request and never end it; the server does."""
        sound = self._make(self._chance.choice(list(self._asks))).wire
        await self._bad("stall", sound[: self._chance.randrange(len(sound))], _PATIENCE_SECONDS)

    async def _unread(self) -> None:
        """Ask, and take next to nothing of the answers; the server ends it."""
        loop = asyncio.get_running_loop()
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            try:
                async with asyncio.timeout(60.0):
                    await loop.sock_connect(client, ("127.0.0.1", self._port))
                    await loop.sock_sendall(client, self._make(self._chance.choice(list(self._asks))).wire)
                    while await loop.sock_recv(client, 16):
                        await asyncio.sleep(1.0)
            except (OSError, TimeoutError):
                pass
        self.seen.bad["unread"] += 1

    async def _bad(self, sort: str, sent: bytes, seconds: float) -> None:
        """Send bytes and hang up after so many seconds, or when the server does."""
        try:
            async with asyncio.timeout(seconds):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                writer.write(sent)
                while await reader.read(65536):
                    pass
        except (OSError, TimeoutError):
            pass
        finally:
            self.seen.bad[sort] += 1
            if "writer" in locals():
                writer.transport.abort()
