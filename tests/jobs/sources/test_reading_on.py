"""A shard's pieces are the same whatever was read before it, and rows that follow each other are decoded once."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest
from pyarrow import parquet

from jobs.sources.parquet import CHUNK, ParquetSource
from jobs.sources.reading_on import ReadingOn

ROWS, SIZE = 20, 6


class Batches:
    """Batches of the numbers up to ROWS, and how many of them were asked for."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> Iterator[pa.RecordBatch]:
        for start in range(0, ROWS, SIZE):
            self.made += 1
            yield pa.record_batch({"x": range(start, min(ROWS, start + SIZE))})


def pieces(reading: ReadingOn, start: int, stop: int, begin: Batches, of: str = "a") -> list[list[int]]:
    return [piece.column("x").to_pylist() for piece in reading.rows(of, start, stop, begin)]


@pytest.mark.parametrize("order", itertools.permutations([(0, 4), (4, 5), (5, 13), (13, 20)]))
def test_pieces_do_not_depend_on_what_was_read_before(order: tuple[tuple[int, int], ...]) -> None:
    reading, begin = ReadingOn(), Batches()
    for start, stop in order:
        found = pieces(reading, start, stop, begin)
        assert found == pieces(ReadingOn(), start, stop, begin)
        assert list(itertools.chain(*found)) == list(range(start, stop))


def test_what_follows_is_read_on() -> None:
    reading, begin = ReadingOn(), Batches()
    for start, stop in ((0, 4), (7, 8), (8, 15), (15, 20)):
        pieces(reading, start, stop, begin)
    assert begin.made == -(-ROWS // SIZE)


def test_other_rows_rows_given_up_and_rows_that_are_not_there() -> None:
    reading, begin = ReadingOn(), Batches()
    next(reading.rows("a", 3, 9, begin))  # given up after its first piece
    assert pieces(reading, 3, 9, begin) == [[3, 4, 5], [6, 7, 8]]
    assert pieces(reading, 9, 10, begin, "b") == [[9]]
    assert pieces(reading, 18, 30, begin, "b") == [[18, 19]]
    assert pieces(reading, 30, 40, begin, "b") == []


def test_shards_of_one_row_group_are_the_same_in_any_order(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"x": range(3 * CHUNK + 5)}), file)

    def source() -> ParquetSource:
        return ParquetSource(fsspec.filesystem("file"), [str(file)], ["x"])

    shards, one = list(source().shards(CHUNK - 7)), source()
    for shard in (*shards[1:], *shards[::-1]):
        fresh = [(chunk.rows.tolist(), chunk.items) for chunk in source().read(shard)]
        assert [(chunk.rows.tolist(), chunk.items) for chunk in one.read(shard)] == fresh
