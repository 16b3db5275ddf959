"""A closed-loop HTTP/1.1 load: N connections that stay open, each with one request under way, in a process of its own.

It costs a few microseconds a request, because it shares the cores with the server that it measures. Every answer's status
and length are checked; what is in them is the caller's to check, with `ask`, before.
"""

import asyncio
import itertools
import json
import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from http.client import HTTPResponse

import numpy as np

from benchmarks.processes import cpu_seconds


@dataclass(frozen=True)
class Request:
    """What is sent, as it goes over the wire."""

    path: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    method: str = "POST"

    @property
    def wire(self) -> bytes:
        lines = [f"{self.method} {self.path} HTTP/1.1", "host: 127.0.0.1", f"content-length: {len(self.body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Load:
    """What to do: `requests` go round; answers must have a body of at least `least_bytes`."""

    port: int
    requests: Sequence[bytes]
    clients: int
    seconds: float
    warm_seconds: float
    least_bytes: int
    pid: int


@dataclass(frozen=True)
class Measured:
    """What came of it. Times in seconds; `cpu` is the server's processor time for one request."""

    rate: float
    p50: float
    p99: float
    mean: float
    cpu: float
    answers: int
    errors: int


class Failed(RuntimeError):
    """Answers were wrong: no figure of such a run means anything."""


def ask(port: int, request: Request, timeout: float = 30.0) -> Answer:
    """One request on a connection of its own. Raises OSError."""
    with socket.create_connection(("127.0.0.1", port), timeout) as connection:
        connection.sendall(request.wire)
        response = HTTPResponse(connection, method=request.method)
        response.begin()
        length = response.length
        body = response.read() if length is None and response.chunked else response.read(length)
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, body)


def load(
    port: int,
    pid: int,
    requests: Sequence[Request],
    clients: int,
    seconds: float,
    least_bytes: int,
    warm_seconds: float = 1.0,
) -> Measured:
    """Load a server and measure. `pid` is its first process. Raises Failed where an answer was wrong."""
    plan = Load(port, [request.wire for request in requests], clients, seconds, warm_seconds, least_bytes, pid)
    done = subprocess.run([sys.executable, "-m", "benchmarks.load"], input=pickle.dumps(plan), capture_output=True)
    if done.returncode:
        raise Failed(done.stderr.decode(errors="replace").strip().splitlines()[-1])
    measured = Measured(**json.loads(done.stdout))
    if measured.errors:
        raise Failed(f"{measured.errors} of {measured.answers} answers were wrong")
    return measured


class _Client(asyncio.Protocol):
    """One connection: sends, waits for the whole answer, sends again."""

    def __init__(self, requests: Iterator[bytes], least_bytes: int, tally: "_Tally") -> None:
        self._requests = requests
        self._least_bytes = least_bytes
        self._tally = tally
        self._received = b""
        self._end = 0
        self._good = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._start = time.perf_counter()
        self._transport.write(next(self._requests))  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        received = self._received = self._received + data if self._received else data
        if not self._end:
            head = received.find(b"\r\n\r\n") + 4
            if head < 4:
                return
            lines = received[:head].lower()
            at = lines.find(b"\r\ncontent-length:")
            length = int(lines[at + 17 : lines.index(b"\r", at + 17)]) if at >= 0 else -1
            self._end = head + max(0, length)
            self._good = received[9:12] == b"200" and length >= self._least_bytes
        if len(received) >= self._end:
            self._tally.times.append(time.perf_counter() - self._start)
            self._tally.errors += not self._good
            self._received, self._end = b"", 0
            if not self._tally.over:
                self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._tally.over:
            self._tally.errors += 1
            self._tally.lost.set()


class _Tally:
    def __init__(self) -> None:
        self.times: list[float] = []
        self.errors = 0
        self.over = False
        self.lost = asyncio.Event()


async def _run(plan: Load) -> Measured:
    loop = asyncio.get_running_loop()
    tally, requests = _Tally(), itertools.cycle(plan.requests)
    for _ in range(plan.clients):
        client = _Client(requests, plan.least_bytes, tally)
        await loop.create_connection(lambda client=client: client, "127.0.0.1", plan.port)
    await asyncio.sleep(plan.warm_seconds)
    first, used, start = len(tally.times), cpu_seconds(plan.pid), time.perf_counter()
    try:
        async with asyncio.timeout(plan.seconds):
            await tally.lost.wait()
        raise Failed(f"the server closed a connection after {len(tally.times)} answers")
    except TimeoutError:
        pass
    seconds, used, times = time.perf_counter() - start, cpu_seconds(plan.pid) - used, tally.times[first:]
    tally.over = True
    if not times:
        raise Failed(f"no answer within {seconds:.1f} s")
    p50, p99 = np.percentile(times, [50, 99])
    mean, count = float(np.mean(times)), len(times)
    return Measured(count / seconds, float(p50), float(p99), mean, used / count, count, tally.errors)


def main() -> None:
    import uvloop

    plan = pickle.load(sys.stdin.buffer)
    print(json.dumps(asdict(uvloop.run(_run(plan)))))


if __name__ == "__main__":
    # Unpickled plans name the imported module's class, not this one's.
    from benchmarks.load import main as imported_main

    imported_main()
