"""Batches of rows that can only be read from their beginning, read on from one shard to the next."""

from collections.abc import Callable, Hashable, Iterator

import pyarrow as pa


class ReadingOn:
    """Where reading has come to. A worker's shards come in their order, and what stands before one of them was decoded for
    the one before it: to begin anew would have each shard cost as much as all rows before it."""

    def __init__(self) -> None:
        self._of: Hashable = None
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._batch: pa.RecordBatch | None = None
        self._at = 0  # of the batch's first row, or the next one's

    def rows(
        self, of: Hashable, start: int, stop: int, begin: Callable[[], Iterator[pa.RecordBatch]]
    ) -> Iterator[pa.RecordBatch]:
        """Rows `start` to `stop`, or to the end, in pieces of the batches that `begin` makes of all.

        The pieces are the same whatever was read before; `of` says which rows are meant.
        """
        if of != self._of or start < self._at:
            self._of, self._batches, self._batch, self._at = of, begin(), None, 0
        while self._at < stop:
            self._batch = self._batch or next(self._batches, None)
            if self._batch is None:
                return
            end = self._at + self._batch.num_rows
            if end > start:
                first = max(start, self._at)
                yield self._batch.slice(first - self._at, stop - first)
            if end > stop:
                return  # the rest is the next shard's
            self._at, self._batch = end, None
