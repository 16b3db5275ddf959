"""However a source is cut, its shards hold all rows once, in order; and what cannot be read says so."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from jobs.chunks import Source
from jobs.errors import JobFailed
from jobs.sources import lines
from jobs.sources.arrays import ArraySource
from jobs.sources.csv import CsvSource
from jobs.sources.lines import LineSource
from jobs.sources.parquet import ParquetSource
from jobs.sources.pictures import PictureSource

LOCAL = fsspec.filesystem("file")


def read(source: Source, rows: int) -> list[tuple[int, Any]]:
    """All rows with their numbers, through shards of so many rows."""
    found: list[tuple[int, Any]] = []
    at = 0
    for number, shard in enumerate(source.shards(rows)):
        assert (shard.number, shard.first) == (number, at)
        assert 0 < shard.rows <= rows
        at += shard.rows
        for chunk in source.read(shard):
            items = chunk.items.to_pylist() if isinstance(chunk.items, pa.Table) else list(chunk.items)
            found += zip(chunk.rows.tolist(), items, strict=True)
            found += [(refused.row, refused.error.detail) for refused in chunk.refused]
    found.sort(key=lambda pair: pair[0])  # what was refused comes behind its chunk
    assert [number for number, _ in found] == list(range(at))
    return found


def csv_files(folder: Path) -> tuple[Source, list[Any]]:
    """Line breaks and commas in quotes, blank lines, columns in another order, no line break at the end."""
    quoted = 'name,note,x\r\n"a ""quoted"" one","two\nlines",1\n\n\r\nplain,,2\r\n"ü","x,y"\n"more,\n\n",\nz,last,4'
    (folder / "a.csv").write_bytes(quoted.encode())
    (folder / "b.csv").write_bytes(b"x,note,name\n5,other order,b\n")
    files = [str(folder / "a.csv"), str(folder / "b.csv")]
    odd = "expected 3 values, found 2: {!r}"
    expected = [{"x": "1"}, {"x": "2"}, odd.format('"ü","x,y"'), odd.format('"more,\n\n",'), {"x": "4"}, {"x": "5"}]
    return CsvSource(LOCAL, files, ["x"], ["name"]), expected


def line_files(folder: Path) -> tuple[Source, list[Any]]:
    (folder / "a.txt").write_bytes(b"one\r\n\n\r\ntwo\n  three\n\n")
    (folder / "b.txt").write_bytes("\nvier ü\nfive".encode())
    return LineSource(LOCAL, [str(folder / "a.txt"), str(folder / "b.txt")]), [
        b"one",
        b"two",
        b"  three",
        "vier ü".encode(),
        b"five",
    ]


def parquet_files(folder: Path) -> tuple[Source, list[Any]]:
    table = pa.table({"x": range(100), "y": [f"{i}" for i in range(100)]})
    with parquet.ParquetWriter(folder / "a.parquet", table.schema) as writer:
        for start, stop in itertools.pairwise((0, 3, 4, 64, 64, 90)):
            writer.write_table(table.slice(start, stop - start))
    parquet.write_table(table.slice(90), folder / "b.parquet")
    source = ParquetSource(LOCAL, [str(folder / "a.parquet"), str(folder / "b.parquet")], ["x"], ["y"])
    return source, [{"x": i} for i in range(100)]


def arrays(folder: Path) -> tuple[Source, list[Any]]:
    values = np.arange(40, dtype=np.float32)
    np.save(folder / "a.npy", values[:33])
    np.save(folder / "b.npy", values[33:])
    return ArraySource(LOCAL, [str(folder / "a.npy"), str(folder / "b.npy")]), values.tolist()


def pictures(folder: Path) -> tuple[Source, list[Any]]:
    names = [str(folder / f"{i}.png") for i in range(7)]
    for name in names:
        Path(name).write_bytes(name.encode())
    return PictureSource(LOCAL, str(folder), names), [name.encode() for name in names]


@pytest.mark.parametrize("make", [csv_files, line_files, parquet_files, arrays, pictures])
@pytest.mark.parametrize("rows", [1, 2, 7, 1000])
def test_all_rows_once_and_in_order(
    make: Callable[[Path], tuple[Source, list[Any]]], rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, expected = make(tmp_path)
    for block in (lines.BLOCK, 5, 1):
        monkeypatch.setattr(lines, "BLOCK", block)
        assert [item for _, item in read(source, rows)] == expected


def test_columns_that_go_through_stay_beside_their_rows(tmp_path: Path) -> None:
    for make in (csv_files, parquet_files):
        source, _ = make(tmp_path)
        for shard in source.shards(3):
            for chunk in source.read(shard):
                assert chunk.kept is not None
                assert len(chunk.kept) == len(chunk)
                if make is parquet_files:
                    assert chunk.kept.column("y").to_pylist() == [str(row) for row in chunk.rows]


def test_shards_are_some_row_groups_or_a_part_of_one(tmp_path: Path) -> None:
    source, _ = parquet_files(tmp_path)
    cut = [(shard.start, shard.stop, shard.skip, shard.rows) for shard in source.shards(30)]
    assert cut == [(0, 2, 0, 4), (2, 3, 0, 30), (2, 3, 30, 30), (3, 5, 0, 26), (0, 1, 0, 10)]


@pytest.mark.parametrize(
    ("source", "content", "says"),
    [
        (ParquetSource(LOCAL, ["FILE"], ["x"]), b"PAR1 no", "expected a Parquet file"),
        (CsvSource(LOCAL, ["FILE"], ["x"]), b"a,b\n1,2\n", "expected the columns 'x', found 'a', 'b'"),
        (CsvSource(LOCAL, ["FILE"], ["x"]), b"", "expected a row of column names"),
        (ArraySource(LOCAL, ["FILE"]), b"no array", "expected a .npy array"),
    ],
)
def test_a_file_that_is_none_is_named(source: Source, content: bytes, says: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    broken = type(source)(**{**vars(source), "files": [str(file)]})
    with pytest.raises(JobFailed, match=f"{file}.*{says}"):
        list(broken.shards(10))


def test_a_file_that_was_cut_short_since_is_noticed(tmp_path: Path) -> None:
    for make in (line_files, csv_files, arrays):
        source, _ = make(tmp_path)
        shard = next(iter(source.shards(2)))
        file = Path(shard.file)
        file.write_bytes(file.read_bytes()[: 130 if make is arrays else shard.stop - 8])
        with pytest.raises(JobFailed):
            list(source.read(shard))
