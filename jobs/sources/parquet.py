"""Rows of Parquet files.

A shard is some row groups, or a part of one that is larger than a shard: the rows before it are decoded and dropped, but for
those that the worker's last shard had. Columns are read through a small buffer, so that memory depends on no row group's size.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem
from pyarrow import parquet

from jobs.chunks import Chunk, Shard
from jobs.errors import JobFailed
from jobs.sources.cuts import even
from jobs.sources.reading_on import ReadingOn
from jobs.sources.wanted import check, wanted
from jobs.storage import open_ranges

CHUNK = 8192
_CHUNK_BYTES = 32 * 2**20
_BUFFER, _FAR_BUFFER = 2**18, 2**20
"""Bytes of each column that are read at once, from a disk and from further away."""


@dataclass(frozen=True)
class ParquetSource:
    """Some columns of files, and others that go through to the answer."""

    fs: Any
    files: Sequence[str]
    columns: Sequence[str]
    kept: Sequence[str] = ()
    _reading: ReadingOn = field(default_factory=ReadingOn, repr=False, compare=False)

    def shards(self, rows: int) -> Iterator[Shard]:
        number = first = 0
        for name in self.files:
            with self._open(name) as file:
                groups = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
            for start, stop, skip, count in _cut(groups, rows):
                yield Shard(number, first, count, name, start, stop, skip)
                number, first = number + 1, first + count

    def read(self, shard: Shard) -> Iterator[Chunk]:
        of, found = (shard.file, shard.start, shard.stop), 0
        batches = partial(self._batches, *of)
        for part in self._reading.rows(of, shard.skip, shard.skip + shard.rows, batches):
            table = pa.Table.from_batches([part])
            numbers = np.arange(found, found + len(table)) + shard.first
            yield Chunk(numbers, table.select(self.columns), kept=table.select(self.kept))
            found += len(table)
        if found < shard.rows:
            raise JobFailed(f"{shard.file}: expected {shard.rows} rows of a shard, found {shard.rows - found} fewer")

    def _batches(self, name: str, start: int, stop: int) -> Iterator[pa.RecordBatch]:
        """All rows of some row groups."""
        groups = range(start, stop)
        with self._open(name) as file:
            about = [file.metadata.row_group(i) for i in groups]
            each = sum(group.total_byte_size for group in about) // max(1, sum(group.num_rows for group in about))
            size = max(1, min(CHUNK, _CHUNK_BYTES // max(1, each)))
            yield from file.iter_batches(size, list(groups), wanted(self.columns, self.kept), use_threads=False)

    def _open(self, name: str) -> parquet.ParquetFile:
        buffer = _BUFFER if isinstance(self.fs, LocalFileSystem) else _FAR_BUFFER
        try:
            file = parquet.ParquetFile(open_ranges(self.fs, name), buffer_size=buffer, pre_buffer=False)
        except (pa.ArrowException, OSError) as error:
            raise JobFailed(f"{name}: expected a Parquet file, found one that cannot be read: {error}") from error
        found = file.schema_arrow.names
        check(name, found, (*self.columns, *self.kept))
        return file


def _cut(groups: Sequence[int], rows: int) -> Iterator[tuple[int, int, int, int]]:
    """Shards of about so many rows: the row groups from and to, rows to skip, rows to read."""
    begin = held = 0
    for at, count in enumerate(groups):
        if held and held + count > rows:
            yield begin, at, 0, held
            begin, held = at, 0
        if count > rows:
            for start, stop in even(0, count, rows):
                yield at, at + 1, start, stop - start
            begin, held = at + 1, 0
        else:
            held += count
    if held:
        yield begin, len(groups), 0, held
