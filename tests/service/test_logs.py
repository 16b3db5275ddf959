"""Logs: what a line holds."""

import json
import logging
from collections.abc import Iterator

import pytest

from service import logs


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], logging.getLogger("amostra").level
    yield
    root.handlers[:] = handlers
    logging.getLogger("amostra").setLevel(level)
    logs.request.set(None)


def test_json_has_the_request_and_its_trace(capsys: pytest.CaptureFixture) -> None:
    logs.configure("json")
    logs.request.set({"request_id": "r-1", "trace_id": "0af7"})
    logging.getLogger("amostra.http").warning("two\nlines of %s", "it")
    line = json.loads(capsys.readouterr().err)
    assert line.pop("time")
    assert line == {
        "level": "WARNING",
        "logger": "amostra.http",
        "message": "two\nlines of it",
        "request_id": "r-1",
        "trace_id": "0af7",
    }


def test_without_a_request_there_is_none(capsys: pytest.CaptureFixture) -> None:
    logs.configure("json")
    logging.getLogger("amostra").info("started")
    line = json.loads(capsys.readouterr().err)
    assert line["request_id"] is None


def test_an_exception_is_in_its_line(capsys: pytest.CaptureFixture) -> None:
    logs.configure("json")
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("amostra").exception("it failed")
    (line,) = capsys.readouterr().err.splitlines()
    assert "ValueError: why" in json.loads(line)["exc_info"]


def test_lines_for_people(capsys: pytest.CaptureFixture) -> None:
    logs.configure("text")
    logging.getLogger("amostra").info("started")
    assert capsys.readouterr().err.endswith("INFO amostra started\n")
