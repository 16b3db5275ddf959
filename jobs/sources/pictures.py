"""A folder's pictures, PNG or JPEG: each file is a row. Their names are kept in memory; of millions, make Parquet files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jobs.chunks import Chunk, Shard
from jobs.sources.cuts import even

CHUNK = 64


@dataclass(frozen=True)
class PictureSource:
    """Files of a folder, by their full names."""

    fs: Any
    root: str
    files: Sequence[str]

    def shards(self, rows: int) -> Iterator[Shard]:
        for number, (first, stop) in enumerate(even(0, len(self.files), rows)):
            yield Shard(number, first, stop - first, names=tuple(self.files[first:stop]))

    def read(self, shard: Shard) -> Iterator[Chunk]:
        for start, stop in even(0, shard.rows, CHUNK):
            paths = list(shard.names[start:stop])
            names = [path.removeprefix(self.root).lstrip("/") or path.rpartition("/")[2] for path in paths]
            found = self.fs.cat(paths)  # of an object store, at the same time
            numbers = np.arange(shard.first + start, shard.first + stop)
            yield Chunk(numbers, [found[path] for path in paths], names)
