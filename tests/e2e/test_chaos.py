"""Faults under load, against the real service: kills, a store that is broken under its feet, a clock that jumps.

`make chaos` runs them. What fails is told with a documented status; what is sound serves on.
"""

import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Start
from tests.eventually import eventually
from tests.toys import directories
from tests.toys.directories import GENERATOR, TABLE, WRITER
from tests.toys.hanging import ENDLESS, HANGS, STUCK, write_hanging

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

GENERATE, COMPLETE, SCORE = "/v1/images/generations", "/v1/completions", "/v1/score"
ASKS: dict[str, tuple[str, dict[str, Any]]] = {
    GENERATOR: (GENERATE, {"model": GENERATOR, "n": 4, "seed": 1}),
    WRITER: (COMPLETE, {"model": WRITER, "prompt": "To be", "max_tokens": 20, "seed": 1}),
    TABLE: (SCORE, {"model": TABLE, "inputs": [[0.5, 0.5, 0.5]]}),
}


LIBFAKETIME = [*Path("/usr/lib").glob("*/faketime/libfaketime.so.1")]
"""The library itself: its program would stay between us and the server."""


class Clients:
    """Each asks one model again and again; what came back is counted by model and status."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.seen: Counter[tuple[str, int | str]] = Counter()
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self._ask, args=(name,)) for name in [*ASKS] * 2]

    def _ask(self, name: str) -> None:
        path, body = ASKS[name]
        with httpx.Client(base_url=self.url, timeout=60) as client:
            while not self.over.is_set():
                try:
                    self.seen[name, client.post(path, json=body).status_code] += 1
                except httpx.TransportError as error:
                    self.seen[name, type(error).__name__] += 1
                    time.sleep(0.05)

    def statuses(self, *names: str) -> set[int | str]:
        """What came back since the last call, of these models or of all."""
        seen, self.seen = self.seen, Counter()
        return {status for name, status in seen if not names or name in names}


@contextmanager
def load(url: str) -> Iterator[Clients]:
    clients = Clients(url)
    for thread in clients.threads:
        thread.start()
    try:
        eventually(lambda: {name for name, _ in clients.seen} == set(ASKS), 30)
        yield clients
    finally:
        clients.over.set()
        for thread in clients.threads:
            thread.join()


def data_of(url: str, name: str) -> Any:
    path, body = ASKS[name]
    answer = httpx.post(url + path, json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    return {key: value for key, value in answer.json().items() if key in ("data", "choices")}


def state(url: str, name: str) -> str | None:
    """As it is listed; `problem` where former content serves in the place of what cannot."""
    listed = httpx.get(f"{url}/v1/models", params={"state": "all"}).json()["data"]
    found = next((model for model in listed if model["id"] == name), {})
    return "problem" if found.get("state") == "ready" and found["problem"] else found.get("state")


def test_killed_under_load_and_started_again(start: Start) -> None:
    process, url = start(result_cache_mb="16")
    before = {name: data_of(url, name) for name in ASKS}
    for _ in range(2):
        with load(url) as clients:
            time.sleep(1)
            process.kill()
            process.wait(10)
            time.sleep(0.3)
        assert clients.statuses() <= {200, "ReadError", "ConnectError", "RemoteProtocolError", "WriteError"}
        process, url = start(result_cache_mb="16")
        assert {name: data_of(url, name) for name in ASKS} == before


def test_a_model_that_is_broken_replaced_and_removed_while_it_serves(start: Start, tmp_path: Path) -> None:
    store = tmp_path / "store"
    directory = store / GENERATOR / "1"
    _, url = start(poll_seconds="0.1")
    former = data_of(url, GENERATOR)
    sound = (directory / "decode.onnx").read_bytes()
    with load(url) as clients:
        (directory / "decode.onnx").write_bytes(sound[: len(sound) // 2])  # truncated where it lies
        eventually(lambda: state(url, GENERATOR) == "problem", 20)
        assert data_of(url, GENERATOR) == former, "what it was serves on"
        (directory / "manifest.json").unlink()
        time.sleep(1)
        assert data_of(url, GENERATOR) == former
        assert clients.statuses() == {200}

        other = directories.write_generator(tmp_path / "elsewhere", seed=1)
        directory.rename(tmp_path / "old")
        other.rename(directory)
        eventually(lambda: state(url, GENERATOR) == "ready", 20)
        assert data_of(url, GENERATOR) != former
        assert clients.statuses() == {200}

        shutil.rmtree(store / GENERATOR)
        eventually(lambda: state(url, GENERATOR) is None, 20)
        clients.statuses()
        time.sleep(0.5)
        assert clients.statuses(GENERATOR) <= {404}
        time.sleep(0.5)
        assert clients.statuses(WRITER, TABLE) == {200}


def test_a_copy_that_runs_out_of_room(start: Start, tmp_path: Path) -> None:
    """The file that is written is cut off where the system says so, as on a full disk."""
    _, url = start(poll_seconds="0.1")
    made = directories.write_generator(tmp_path / "elsewhere", "newcomer")
    target = tmp_path / "store" / "newcomer" / "1"
    most = (made / "decode.onnx").stat().st_size // 2

    def bound() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    with load(url) as clients:
        copy = f"import shutil; shutil.copytree({str(made)!r}, {str(target)!r})"
        done = subprocess.run([sys.executable, "-c", copy], preexec_fn=bound, capture_output=True)
        assert done.returncode
        assert b"File too large" in done.stderr
        eventually(lambda: state(url, "newcomer") == "refused", 20)
        shutil.copytree(made, target, dirs_exist_ok=True)
        eventually(lambda: state(url, "newcomer") == "ready", 20)
        assert clients.statuses() == {200}


def test_a_store_whose_mount_is_away_for_a_while(start: Start, tmp_path: Path) -> None:
    _, url = start(poll_seconds="0.1")
    with load(url) as clients:
        (tmp_path / "store").rename(tmp_path / "away")
        time.sleep(1)
        assert httpx.get(f"{url}/readyz").status_code == 200
        (tmp_path / "away").rename(tmp_path / "store")
        time.sleep(0.5)
        assert clients.statuses() == {200}


def test_a_hundred_models(start: Start, tmp_path: Path) -> None:
    _, url = start(poll_seconds="0.1")
    with load(url) as clients:
        for number in range(100):
            directories.write_generator(tmp_path / "store", f"model-{number}", seed=number)
        eventually(lambda: state(url, "model-99") == "ready" and state(url, "model-0") == "ready", 120)
        assert clients.statuses() == {200}


@pytest.mark.skipif(not LIBFAKETIME, reason="libfaketime is not installed")
def test_a_clock_that_jumps(start: Start, tmp_path: Path) -> None:
    """The wall clock goes back a year, and on by two; the monotonic one goes on as ever."""
    jump = tmp_path / "jump"
    jump.write_text("+0")
    library = ("env", f"LD_PRELOAD={LIBFAKETIME[0]}", f"FAKETIME_TIMESTAMP_FILE={jump}", "FAKETIME_NO_CACHE=1")
    library += ("DONT_FAKE_MONOTONIC=1",)
    _, url = start(library, poll_seconds="0.1")
    before = {name: data_of(url, name) for name in ASKS}
    with load(url) as clients:
        for offset in (-365, +730, 0):
            jump.write_text(f"{offset:+}d")
            time.sleep(1)
            stamped = httpx.post(url + GENERATE, json={"seed": 1}).json()["created"]
            assert abs(stamped - time.time() - offset * 86_400) < 100, "the clock did jump"
            assert {name: data_of(url, name) for name in ASKS} == before
        assert clients.statuses() == {200}


@pytest.mark.parametrize("stuck", [False, True], ids=["in a loop", "in one node"])
def test_a_graph_that_hangs(start: Start, tmp_path: Path, stuck: bool) -> None:
    write_hanging(tmp_path / "store", stuck=stuck)
    name = STUCK if stuck else ENDLESS
    _, url = start(hang_seconds="0.2", workers="1")
    with load(url) as clients:
        answer = httpx.post(url + GENERATE, json={"model": name, "label": HANGS}, timeout=30)
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "model_failed")
        assert f"model {name} hung" in answer.json()["detail"]
        if stuck:  # the only core hangs: an orchestrator would restart it now
            assert httpx.get(f"{url}/livez").status_code == 503
            assert "amostra_lost_workers 1.0" in httpx.get(f"{url}/metrics").text
        eventually(lambda: state(url, name) == "refused")
        eventually(lambda: httpx.get(f"{url}/livez").status_code == 200, 60)
        assert f'amostra_hung_models_total{{model="{name}"}} 1.0' in httpx.get(f"{url}/metrics").text
        clients.statuses()
        time.sleep(1)
        assert clients.statuses() == {200}


def test_a_graph_that_was_fast_and_then_hangs_in_a_loop(start: Start, tmp_path: Path) -> None:
    """Its batches are run on the event loop: nobody is answered until it is ended, which is soon."""
    write_hanging(tmp_path / "store")
    _, url = start(hang_seconds="1")
    for _ in range(50):
        assert httpx.post(url + GENERATE, json={"model": ENDLESS, "label": 1}).status_code == 200
    with load(url) as clients:
        answer = httpx.post(url + GENERATE, json={"model": ENDLESS, "label": HANGS}, timeout=30)
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "model_failed")
        assert httpx.get(f"{url}/livez").status_code == 200
        eventually(lambda: state(url, ENDLESS) == "refused")
        clients.statuses()
        time.sleep(1)
        assert clients.statuses() == {200}


def test_a_graph_that_was_fast_and_then_hangs_in_one_node_ends_the_process(start: Start, tmp_path: Path) -> None:
    """The event loop does not come back, and whoever looks at processes is to start another."""
    write_hanging(tmp_path / "store", stuck=True)
    process, url = start(hang_seconds="0.2")
    for _ in range(50):
        assert httpx.post(url + GENERATE, json={"model": STUCK, "label": 1}).status_code == 200
    with pytest.raises(httpx.TransportError):
        httpx.post(url + GENERATE, json={"model": STUCK, "label": HANGS}, timeout=30)
    assert process.wait(10) == 1
