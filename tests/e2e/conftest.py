"""Real servers: one with the models of this repository, for tests that measure them, and ones with toys, for faults."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.server import ROOT, free_port, serving
from tests.toys import directories

Start = Callable[..., tuple[subprocess.Popen, str]]


@pytest.fixture(scope="session")
def shipped_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address."""
    with serving(ROOT / "exported", tmp_path_factory.mktemp("shipped")) as url:
        yield url


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts `python -m service` on the toys in `tmp_path / "store"` with some settings, and before it a `wrapper` if one
    is given; returns it and its address when it is ready."""
    store = directories.write_store(tmp_path / "store")
    processes: list[subprocess.Popen] = []

    def begin(wrapper: tuple[str, ...] = (), **settings: str) -> tuple[subprocess.Popen, str]:
        port = free_port()
        own = {f"AMOSTRA_{name.upper()}": value for name, value in settings.items()}
        env = {name: value for name, value in os.environ.items() if not name.startswith("AMOSTRA_")}
        env |= {"AMOSTRA_MODELS": str(store), "AMOSTRA_PROVIDER": "cpu", "BENTOML_HOME": str(tmp_path / "home"), **own}
        command = [*wrapper, sys.executable, "-m", "service", "--port", str(port)]
        processes.append(subprocess.Popen(command, cwd=ROOT, env=env))
        url, end = f"http://127.0.0.1:{port}", time.monotonic() + 90
        while not _ready(url):
            assert processes[-1].poll() is None
            assert time.monotonic() < end
            time.sleep(0.1)
        return processes[-1], url

    yield begin
    for process in processes:
        process.kill()
        process.wait(10)


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False
