"""Parquet apart: what comes back is what the decoder says, and what kills it kills nothing else."""

import io
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from contract.manifest import Column
from service.codecs import table
from service.codecs.apart import Reader
from service.errors import BadRequest, Invalid, NotReady, TooLarge

COLUMNS = (Column(name="a"), Column(name="c", kind="category", categories=("x", "y")))


def written(rows: pa.Table) -> bytes:
    stream = io.BytesIO()
    parquet.write_table(rows, stream)
    return stream.getvalue()


ROWS = written(pa.table({"a": [1.5, -2.0, 3.0], "c": ["x", "y", "x"]}))


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    reader = Reader()
    yield reader
    reader.close()


def test_it_says_what_the_decoder_says(reader: Reader) -> None:
    here = table.decode(ROWS, table.PARQUET, COLUMNS, 10, 2**20)
    there = reader.decode(ROWS, COLUMNS, 10, 2**20)
    assert np.array_equal(here, there)
    assert (there.dtype, there.flags.writeable) == (np.float32, True)


@pytest.mark.parametrize(
    ("blob", "limit", "error"),
    [
        (b"PAR1 and nothing else", 10, BadRequest),
        (written(pa.table({"a": [1.0], "c": ["z"]})), 10, Invalid),
        (written(pa.table({"a": [1.0]})), 10, Invalid),
        (ROWS, 2, TooLarge),
    ],
)
def test_its_errors_are_the_decoders(reader: Reader, blob: bytes, limit: int, error: type[Exception]) -> None:
    with pytest.raises(error) as here:
        table.decode(blob, table.PARQUET, COLUMNS, limit, 2**20, "body")
    with pytest.raises(error) as there:
        reader.decode(blob, COLUMNS, limit, 2**20, "body")
    assert str(there.value) == str(here.value)


def test_several_threads_take_turns(reader: Reader) -> None:
    found: dict[int, float] = {}

    def ask(number: int) -> None:
        blob = written(pa.table({"a": [float(number)], "c": ["x"]}))
        found[number] = float(reader.decode(blob, COLUMNS, 10, 2**20)[0, 0])

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {i: float(i) for i in range(8)}


def test_a_process_that_was_killed_is_replaced(reader: Reader) -> None:
    reader.decode(ROWS, COLUMNS, 10, 2**20)
    assert reader._process is not None
    before = reader._process.pid
    os.kill(before, 9)
    reader._process.wait()
    assert len(reader.decode(ROWS, COLUMNS, 10, 2**20)) == 3
    assert reader._process.pid != before


@pytest.mark.parametrize("more", [0, 2**20], ids=["after it was sent", "while it is sent"])
def test_one_that_takes_too_long_is_given_up(reader: Reader, more: int) -> None:
    reader.decode(ROWS, COLUMNS, 10, 2**20)
    hasty = Reader(seconds=0.5)
    hasty._process = reader._process
    assert reader._process is not None
    os.kill(reader._process.pid, signal.SIGSTOP)
    with pytest.raises(BadRequest, match=r"within 0\.5 s"):
        hasty.decode(ROWS + bytes(more), COLUMNS, 10, 2**20)
    assert len(hasty.decode(ROWS, COLUMNS, 10, 2**20)) == 3, "by another process"
    hasty.close()


def python_after(tmp_path: Path, shell: str) -> str:
    """A Python before which something else is done."""
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\n{shell}\nexec {sys.executable} "$@"\n')
    script.chmod(0o755)
    return str(script)


def test_a_start_that_takes_longer_than_a_file_may_says_nothing_of_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On a busy machine a process takes seconds to start."""
    monkeypatch.setattr(sys, "executable", python_after(tmp_path, "sleep 1"))
    reader = Reader(seconds=0.9)
    start = time.monotonic()
    assert len(reader.decode(ROWS, COLUMNS, 10, 2**20)) == 3
    assert time.monotonic() - start > 1
    reader.close()


@pytest.mark.parametrize("shell", ["exec sleep 30", "exit 1", "exec cat"])
def test_a_process_that_does_not_start_is_not_the_files_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shell: str
) -> None:
    reader = Reader(start_seconds=0.3)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", python_after(tmp_path, shell))
        with pytest.raises(NotReady, match=r"did not start within 0\.3 s: send it again") as refused:
            reader.decode(ROWS, COLUMNS, 10, 2**20)
        assert refused.value.retry_after
        patched.setattr(sys, "executable", str(tmp_path / "none"))
        with pytest.raises(NotReady):
            reader.decode(ROWS, COLUMNS, 10, 2**20)
    patient = Reader()
    patient._process = reader._process
    assert len(patient.decode(ROWS, COLUMNS, 10, 2**20)) == 3, "the next one is tried anew"
    patient.close()


def test_a_process_that_died_with_something_unsent_is_let_go_of() -> None:
    reader = Reader()
    reader.decode(ROWS, COLUMNS, 10, 2**20)
    process = reader._process
    assert process is not None
    assert process.stdin is not None
    process.stdin.write(b"what it does not live to read")
    os.kill(process.pid, 9)
    process.wait()
    reader.close()


def test_a_file_that_asks_for_too_much_memory_is_refused_and_the_next_one_is_read() -> None:
    """A gigabyte of equal numbers is a few kilobytes of Parquet; here nobody looks at what its index says."""
    small = Reader(megabytes=700)
    bomb = written(
        pa.table({"a": np.zeros(150_000_000), "c": pa.array(["x"]).take(pa.array(np.zeros(150_000_000, np.int8)))})
    )
    assert len(bomb) < 5_000_000
    with pytest.raises((BadRequest, TooLarge)):
        small.decode(bomb, COLUMNS, 10**9, 10**12)
    assert len(small.decode(ROWS, COLUMNS, 10, 2**20)) == 3
    small.close()
