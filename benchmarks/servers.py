"""Servers in processes of their own: started on a free port, waited for, timed by the kernel, and stopped to the last child."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from benchmarks.environments import environment
from benchmarks.load import Request, ask
from benchmarks.processes import alive, family

ROOT = Path(__file__).parents[1]
_STARTS = 2
"""Servers that start beside each other at most: more would wait for the cores, and some give up then."""

_GIVING, _GIVEN = threading.Lock(), set[int]()

K = TypeVar("K")


class NotReady(RuntimeError):
    """A server that ended, or did not answer, with the end of its log."""


@dataclass(frozen=True)
class Served:
    """A server under way: its port on 127.0.0.1, its first process and its log."""

    port: int
    pid: int
    log: Path


@contextlib.contextmanager
def serving(
    command: Sequence[str], port: int, ready: Request, env: Mapping[str, str] | None = None, seconds: float = 120.0
) -> Iterator[Served]:
    """Run a server until the block ends; the block begins when `ready` is answered with 200. Raises NotReady."""
    with tempfile.TemporaryDirectory() as home:
        log = Path(home) / "log.txt"
        with log.open("wb") as out:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        served = Served(port, process.pid, log)
        try:
            _wait(process, served, ready, seconds)
            yield served
        finally:
            _stop(process)


@contextlib.contextmanager
def ours(
    ready: Request,
    models: Path | None = None,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Served]:
    """The service as `make serve` starts it, with these variables set and otherwise its default settings; it is ready when
    `ready` is answered and no model of its store is being loaded any more: that takes a core for some ten seconds."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "bentoml",
        "serve",
        "service.app:Amostra",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    command += ["--timeout-keep-alive", "75", "--timeout-graceful-shutdown", "30"]
    with tempfile.TemporaryDirectory() as home:
        env = {"BENTOML_HOME": home, "BENTOML_DO_NOT_TRACK": "True", **(settings or {})}
        if models is not None:
            env["AMOSTRA_MODELS"] = str(models)
        with serving(command, port, ready, env) as served:
            while _loading(port):
                time.sleep(0.2)
            yield served


@contextlib.contextmanager
def peer(name: str, arguments: Sequence[str], ready: Request) -> Iterator[Served]:
    """A peer's `server.py` in its own environment."""
    port = free_port()
    python = str(environment(name))
    # A stray BLAS or OpenMP pool would take the cores from the graph's own threads.
    env = {"OMP_NUM_THREADS": "1", "PATH": f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"}
    with serving(
        [python, "-m", f"benchmarks.peers.{name}.server", "--port", str(port), *arguments], port, ready, env
    ) as up:
        yield up


@contextlib.contextmanager
def together(
    servers: Mapping[K, Callable[[], AbstractContextManager[Served]]],
) -> Iterator[dict[K, Served | NotReady]]:
    """Several servers, started and stopped beside each other, because much of a start is waiting. One that does not get up, a
    second time neither, is there as what it ended with."""
    with ThreadPoolExecutor(_STARTS) as pool:
        starts = {key: pool.submit(_start, server) for key, server in servers.items()}
        try:
            yield {key: _served_or_failure(start) for key, start in starts.items()}
        finally:
            up = [start.result()[0] for start in starts.values() if not start.cancel() and start.exception() is None]
            for stop in [pool.submit(manager.__exit__, None, None, None) for manager in up]:
                stop.result()


def _start(server: Callable[[], AbstractContextManager[Served]]) -> tuple[AbstractContextManager[Served], Served]:
    manager = server()
    try:
        return manager, manager.__enter__()
    except NotReady:  # some servers give up on their own children where the cores have much to do
        again = server()
        return again, again.__enter__()


def _served_or_failure(start: Future[tuple[AbstractContextManager[Served], Served]]) -> Served | NotReady:
    failure = start.exception()
    if failure is None or isinstance(failure, NotReady):
        return failure or start.result()[1]
    raise failure


@contextlib.contextmanager
def resting(*servers: Served) -> Iterator[None]:
    """Servers that stand still while another is measured."""
    members = [number for served in servers for number in family(served.pid)]
    _signal(members, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(members, signal.SIGCONT)


def _loading(port: int) -> bool:
    models = json.loads(ask(port, Request("/v1/models?state=all", method="GET")).body)["data"]
    return any(model["state"] == "loading" for model in models)


def free_port() -> int:
    """A port that nobody listens on, and that nobody was given before: servers that start beside each other do not yet."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        with _GIVING:
            if port not in _GIVEN:
                _GIVEN.add(port)
                return port


def _wait(process: subprocess.Popen, served: Served, ready: Request, seconds: float) -> None:
    end, found = time.monotonic() + seconds, "it did not answer"
    while True:
        with contextlib.suppress(OSError):
            answer = ask(served.port, ready)
            if answer.status == 200:
                return
            found = f"it answered {answer.status} {answer.body[:200]!r}"
        if process.poll() is not None:
            found = f"it ended with {process.returncode}"
        elif time.monotonic() < end:
            time.sleep(0.1)
            continue
        tail = served.log.read_text(errors="replace")[-3000:]
        raise NotReady(f"{found}: {' '.join(map(str, process.args))}\n{tail}")


def _stop(process: subprocess.Popen, seconds: float = 15.0, orphan_seconds: float = 2.0) -> None:
    """Ask it to end, and end what is left of its family."""
    born = family(process.pid)
    process.send_signal(signal.SIGTERM)
    end = time.monotonic() + seconds
    while (left := alive(born)) and time.monotonic() < end:
        if process.poll() is not None:
            end = min(end, time.monotonic() + orphan_seconds)
        time.sleep(0.05)
    _signal(left, signal.SIGKILL)
    process.wait(10)
    while alive(born):
        time.sleep(0.01)


def _signal(numbers: Sequence[int], which: signal.Signals) -> None:
    for number in numbers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, which)
