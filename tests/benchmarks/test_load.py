"""The load generator against a server whose answers are known."""

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.load import Failed, Request, ask, load

BODY = b"x" * 1000


class Handler(BaseHTTPRequestHandler):
    """Answers with the body that it is sent; with 500 on /broken."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(500 if self.path == "/broken" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def run(port: int, *requests: Request, least_bytes: int = len(BODY)):
    return load(port, os.getpid(), requests, 2, 0.3, least_bytes, warm_seconds=0.1)


def test_an_answer_comes_back_whole(port):
    answer = ask(port, Request("/echo", BODY))
    assert (answer.status, answer.body) == (200, BODY)


def test_answers_are_counted_and_timed(port):
    measured = run(port, Request("/echo", BODY))
    assert measured.errors == 0
    assert measured.rate == pytest.approx(measured.answers / 0.3, rel=0.5)
    # Two clients without a pause: each answer takes as long as the rate says.
    assert measured.mean == pytest.approx(2 / measured.rate, rel=0.5)
    assert measured.p50 <= measured.p99


@pytest.mark.parametrize("wrong", [Request("/broken", BODY), Request("/echo", BODY[1:])], ids=["status", "length"])
def test_a_run_with_a_wrong_answer_has_no_figures(port, wrong):
    with pytest.raises(Failed, match="answers were wrong"):
        run(port, Request("/echo", BODY), wrong)


def test_nobody_there_is_said_at_once():
    with pytest.raises(Failed, match="Connect"):
        run(1, Request("/echo", BODY))
