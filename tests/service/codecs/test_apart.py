"""Parquet apart: what comes back is what the decoder says, and what kills it kills nothing else."""

import io
import os
import threading
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from contract.manifest import Column
from service.codecs import table
from service.codecs.apart import Reader
from service.errors import BadRequest, Invalid, TooLarge

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
def test_one_that_takes_too_long_is_given_up(more: int) -> None:
    slow = Reader(seconds=0.01)  # it has not even started by then
    with pytest.raises(BadRequest, match=r"within 0\.01 s"):
        slow.decode(ROWS + bytes(more), COLUMNS, 10, 2**20)
    slow.close()


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
