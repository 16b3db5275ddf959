"""The real service in a process of its own, on a free port."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Server:
    """`bentoml serve`, as `make serve` starts it, with these settings; `home` is for its log and BentoML's files."""

    store: Path
    home: Path
    settings: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.home / "log.txt"

    def start(self) -> None:
        """Start it and wait until it answers at all."""
        env = {name: value for name, value in os.environ.items() if not name.startswith(("AMOSTRA_", "BENTOML_"))}
        env |= {
            "AMOSTRA_MODELS": str(self.store),
            **self.settings,
            "BENTOML_HOME": str(self.home),
            "BENTOML_DO_NOT_TRACK": "True",
        }
        command = [sys.executable, "-m", "bentoml", "serve", "service.app:Amostra"]
        command += ["--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--timeout-keep-alive", "75", "--timeout-graceful-shutdown", "30"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.until("/livez", 200)

    def until(self, path: str, status: int, seconds: float = 90) -> None:
        """Wait until a path answers with a status."""
        assert self.process is not None
        end, found = time.monotonic() + seconds, None
        while found != status:
            assert self.process.poll() is None, f"the service ended:\n{self.log.read_text()[-4000:]}"
            assert time.monotonic() < end, f"{path}: {found}\n{self.log.read_text()[-4000:]}"
            time.sleep(0.1)
            try:
                found = httpx.get(self.url + path, timeout=5).status_code
            except httpx.TransportError as error:
                found = error

    def processes(self) -> list[psutil.Process]:
        """The one that was started, and those that it started: its worker is in a session of its own."""
        assert self.process is not None
        try:
            first = psutil.Process(self.process.pid)
            return [first, *first.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def terminate(self, seconds: float = 30) -> int:
        """SIGTERM; returns the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def kill(self) -> None:
        """End whatever is left of it."""
        if self.process is None:
            return
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(10)


@contextmanager
def serving(store: Path, home: Path) -> Iterator[str]:
    """The address of a service with this store, until the block ends."""
    server = Server(store, home)
    try:
        server.start()
        server.until("/readyz", 200)
        yield server.url
        server.terminate()
    finally:
        server.kill()
