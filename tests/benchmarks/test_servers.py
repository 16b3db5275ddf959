"""Servers of benchmarks: waited for, timed and stopped with all their children."""

import sys
from functools import partial

import pytest

from benchmarks.load import Request, ask
from benchmarks.processes import alive, cpu_seconds, family
from benchmarks.servers import NotReady, Served, free_port, resting, serving, together

SERVER = """
import http.server, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""
HOME = Request("/", method="GET")


def test_a_server_is_stopped_with_its_children():
    port = free_port()
    with serving([sys.executable, "-c", SERVER, str(port)], port, HOME) as served:
        born = family(served.pid)
        assert len(born) == 2
        assert sorted(alive(born)) == sorted(born)
        assert cpu_seconds(served.pid) > 0
    assert alive(born) == []


def test_a_server_that_ends_is_reported_with_its_log():
    port = free_port()
    with (
        pytest.raises(NotReady, match=r"(?s)ended with 3.*no luck"),
        serving([sys.executable, "-c", "print('no luck', flush=True); raise SystemExit(3)"], port, HOME),
    ):
        pass


def test_a_server_that_rests_does_not_answer_until_it_goes_on():
    port = free_port()
    with serving([sys.executable, "-c", SERVER, str(port)], port, HOME) as served:
        with resting(served), pytest.raises(TimeoutError):
            ask(port, HOME, timeout=0.3)
        assert ask(port, HOME).status == 200


def test_servers_beside_each_other_are_all_stopped_and_one_that_fails_is_told_of():
    def one(code: str):
        port = free_port()
        return serving([sys.executable, "-c", code, str(port)], port, HOME)

    codes = {"first": SERVER, "none": "raise SystemExit(3)", "second": SERVER}
    servers = {name: partial(one, code) for name, code in codes.items()}
    with together(servers) as found:
        up = {name: served for name, served in found.items() if isinstance(served, Served)}
        assert set(up) == {"first", "second"}
        assert isinstance(found["none"], NotReady)
        assert ask(up["second"].port, HOME).status == 200
        born = [family(served.pid) for served in up.values()]
    assert [alive(each) for each in born] == [[], []]


def test_a_port_is_given_once():
    assert len({free_port() for _ in range(200)}) == 200


def test_a_server_that_fails_once_is_started_again():
    codes = iter(["raise SystemExit(3)", SERVER])

    def one():
        port = free_port()
        return serving([sys.executable, "-c", next(codes), str(port)], port, HOME)

    with together({"only": one}) as found:
        assert ask(found["only"].port, HOME).status == 200
