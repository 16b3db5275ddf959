"""What a source gives and a task takes: some rows at a time, of which each is answered or refused."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from jobs.engine import RowError


@dataclass(frozen=True)
class Shard:
    """Rows `first` to `first + rows` of the whole input, in one file.

    What `start` and `stop` count is the source's affair: bytes, rows or row groups, of which the first `skip` rows are
    another shard's. `names` are those of a folder's files.
    """

    number: int
    first: int
    rows: int
    file: str = ""
    start: int = 0
    stop: int = 0
    skip: int = 0
    names: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The part's, without its suffix."""
        return f"part-{self.number:05d}"


@dataclass(frozen=True)
class Refused:
    """A row that was not answered: its number, its name or custom_id where it has one, and why."""

    row: int
    error: RowError
    name: str | None = None


@dataclass(frozen=True)
class Chunk:
    """Some rows of a shard, by their numbers in the whole input, and those between them that could not be read.

    `items` are rows of a table or of an array, the bytes of files or lines, or the rows' numbers again. `names` are those of the files that the rows come from, `kept` the columns that go through. In a table that is
    `written_out` all values are texts.
    """

    rows: np.ndarray
    items: pa.Table | np.ndarray | Sequence[Any]
    names: Sequence[str] | None = None
    kept: pa.Table | None = None
    written_out: bool = False
    refused: Sequence[Refused] = ()

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Answer:
    """Some rows' answers, as a table or as lines, and the rows that were refused."""

    answered: pa.Table | list[bytes]
    refused: list[Refused]


class Source(Protocol):
    """Where rows come from. Shards follow from what is stored alone; reading one keeps a chunk in memory at most."""

    def shards(self, rows: int) -> Iterator[Shard]: ...
    def read(self, shard: Shard) -> Iterator[Chunk]: ...
