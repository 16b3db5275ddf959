"""Rows of CSV files whose first row is the columns' names; all values are texts."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv

from jobs.chunks import Chunk, Refused, Shard
from jobs.errors import JobFailed
from jobs.sources.lines import BLOCK, Range, cut
from jobs.sources.wanted import check, wanted
from service.errors import BadRequest

CHUNK = 8192
_HEAD = 2**16


@dataclass(frozen=True)
class CsvSource:
    """Some columns of files, and others that go through to the answer. A row of another length is refused."""

    fs: Any
    files: Sequence[str]
    columns: Sequence[str]
    kept: Sequence[str] = ()

    def shards(self, rows: int) -> Iterator[Shard]:
        for name in self.files:
            self._names(name)
        yield from cut(self.fs, self.files, rows, quoted=True)

    def read(self, shard: Shard) -> Iterator[Chunk]:
        odd: list[csv.InvalidRow] = []
        skipped = reported = 0

        def refuse(row: csv.InvalidRow) -> str:
            odd.append(row)
            return "skip"

        read = 0  # rows of the shard, odd ones included
        for table in self._tables(shard, refuse):
            # The reader counts odd rows too, from 1, and meets them before it gives what stands behind them.
            places: list[int] = []
            while len(places) < len(table):
                if skipped < len(odd) and odd[skipped].number == read + 1:
                    skipped += 1
                else:
                    places.append(read)
                read += 1
            refused = [_refused(shard, row) for row in odd[reported:skipped]]
            reported = skipped
            numbers = np.array(places) + shard.first
            yield Chunk(numbers, table.select(self.columns), None, table.select(self.kept), True, refused)
        read += len(odd) - skipped
        if skipped < len(odd):
            none = pa.table({name: pa.array([], pa.string()) for name in (*self.columns, *self.kept)})
            refused = [_refused(shard, row) for row in odd[reported:]]
            yield Chunk(np.arange(0), none.select(self.columns), None, none.select(self.kept), True, refused)
        if read != shard.rows:
            raise JobFailed(f"{shard.file}: expected {shard.rows} rows from row {shard.first} on, found {read}")

    def _tables(self, shard: Shard, refuse: Any) -> Iterator[pa.Table]:
        names, read = self._names(shard.file), wanted(self.columns, self.kept)
        with Range(self.fs, shard) as file:
            try:
                reader = csv.open_csv(
                    pa.PythonFile(file, "r"),
                    csv.ReadOptions(use_threads=False, block_size=BLOCK, column_names=names),
                    csv.ParseOptions(newlines_in_values=True, invalid_row_handler=refuse),
                    csv.ConvertOptions(column_types=dict.fromkeys(read, pa.string()), include_columns=read),
                )
                for batch in reader:
                    for start in range(0, len(batch), CHUNK):
                        yield pa.Table.from_batches([batch.slice(start, CHUNK)])
            except pa.ArrowException as error:
                if "Empty CSV file" not in str(error):  # which a shard of odd rows alone is to the reader
                    raise JobFailed(f"{shard.file}: expected CSV, found that {error}") from error

    def _names(self, name: str) -> list[str]:
        with self.fs.open(name, "rb") as file:
            head = file.read(_HEAD)
        try:
            reader = csv.open_csv(
                io.BytesIO(head),
                csv.ReadOptions(use_threads=False),
                csv.ParseOptions(invalid_row_handler=lambda _: "skip"),
            )
        except pa.ArrowException as error:
            raise JobFailed(f"{name}: expected a row of column names, found none: {error}") from error
        found = reader.schema.names
        check(name, found, (*self.columns, *self.kept))
        return found


def _refused(shard: Shard, row: csv.InvalidRow) -> Refused:
    error = BadRequest(f"expected {row.expected_columns} values, found {row.actual_columns}: {row.text[:80]!r}")
    return Refused(shard.first + row.number - 1, error)
