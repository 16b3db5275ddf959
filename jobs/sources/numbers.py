"""Rows that are nothing but their numbers: what is drawn from nothing."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from jobs.chunks import Chunk, Shard
from jobs.sources.cuts import even

CHUNK = 256


@dataclass(frozen=True)
class NumberSource:
    """`count` rows."""

    count: int

    def shards(self, rows: int) -> Iterator[Shard]:
        for number, (first, stop) in enumerate(even(0, self.count, rows)):
            yield Shard(number, first, stop - first)

    def read(self, shard: Shard) -> Iterator[Chunk]:
        for first, stop in even(shard.first, shard.first + shard.rows, CHUNK):
            yield Chunk(np.arange(first, stop), range(first, stop))
