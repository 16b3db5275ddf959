"""SIGTERM under load, as a container gets it: no request is lost, new ones are refused, the end comes in time."""

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import psutil

from deploy.container_test import load
from tests.e2e.conftest import Start
from tests.e2e.server import Server
from tests.toys import directories


def test_nothing_is_lost_under_load(start: Start) -> None:
    process, url = start()
    with subprocess.Popen([sys.executable, load.__file__, url, "16"], stdout=subprocess.PIPE, text=True) as clients:
        assert clients.stdout is not None
        assert clients.stdout.readline() == "begun\n"
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        seen = json.loads(clients.stdout.read())
    assert set(seen) <= {"200", "503", "refused"}, seen
    assert seen["200"] > 16
    assert seen["refused"] == 16


def test_what_is_under_way_is_answered_and_what_comes_is_refused(start: Start) -> None:
    process, url = start()
    ask = {"prompt": "To be", "max_tokens": 4000, "n": 8, "stream": True, "seed": 1}
    kept = httpx.Client(base_url=url)
    assert kept.get("/livez").status_code == 200
    with httpx.stream("POST", f"{url}/v1/completions", json=ask, timeout=60) as answer:
        lines = answer.iter_lines()
        next(lines)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        for client in (kept, httpx.Client(base_url=url)):
            refused = client.post("/v1/completions", json={"prompt": "a"})
            assert refused.status_code == 503, refused.text
            assert refused.headers["connection"] == "close"
            assert int(refused.headers["retry-after"]) >= 1
            assert refused.json()["error"]["code"] == "not_ready"
        assert httpx.get(f"{url}/readyz").status_code == 503
        assert httpx.get(f"{url}/livez").status_code == 200
        assert [line for line in lines if line][-1] == "data: [DONE]"
    assert process.wait(10) == 0


def test_what_takes_too_long_is_given_up_with_an_answer(start: Start) -> None:
    process, url = start(drain_seconds="0.3", max_tokens="1000000")
    answers: list[httpx.Response] = []
    begun = threading.Event()

    def ask() -> None:
        begun.set()
        body = {"prompt": "To be", "max_tokens": 1_000_000}
        answers.append(httpx.post(f"{url}/v1/completions", json=body, timeout=60))

    asking = threading.Thread(target=ask)
    asking.start()
    begun.wait()
    time.sleep(1)
    start_of_end = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert time.monotonic() - start_of_end < 8
    asking.join(10)
    assert answers[0].status_code == 503
    assert "stopping" in answers[0].json()["detail"]


def test_a_worker_ends_in_good_order_with_its_supervisor(tmp_path: Path) -> None:
    """`bentoml serve` keeps a process in front of the one that serves: where it is killed, none is left on its address."""
    server = Server(directories.write_store(tmp_path / "store"), tmp_path, {"AMOSTRA_PROVIDER": "cpu"})
    try:
        server.start()
        server.until("/readyz", 200)
        supervisor, *workers = server.processes()
        assert len(workers) == 1
        ask = {"prompt": "To be", "max_tokens": 2000, "stream": True, "seed": 1}
        with httpx.stream("POST", f"{server.url}/v1/completions", json=ask, timeout=60) as answer:
            lines = answer.iter_lines()
            next(lines)
            supervisor.kill()
            assert [line for line in lines if line][-1] == "data: [DONE]"
        assert not psutil.wait_procs(workers, 10)[1]
    finally:
        server.kill()
