"""Files of lines, texts or JSON: each line that is not blank is a row.

A file is looked through once, to find where each shard begins.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jobs.chunks import Chunk, Shard
from jobs.errors import JobFailed

CHUNK = 256
BLOCK = 2**20
_BREAK, _RETURN, _QUOTE = b'\n\r"'


@dataclass(frozen=True)
class LineSource:
    """Lines without their line breaks."""

    fs: Any
    files: Sequence[str]

    def shards(self, rows: int) -> Iterator[Shard]:
        yield from cut(self.fs, self.files, rows)

    def read(self, shard: Shard) -> Iterator[Chunk]:
        first, lines = shard.first, []
        with Range(self.fs, shard) as file:
            for line in file:
                line = line.rstrip(b"\r\n")
                if line:
                    lines.append(line)
                if len(lines) == CHUNK:
                    yield Chunk(np.arange(first, first + CHUNK), lines)
                    first, lines = first + CHUNK, []
        if lines:
            yield Chunk(np.arange(first, first + len(lines)), lines)
        if (found := first + len(lines) - shard.first) != shard.rows:
            raise JobFailed(f"{shard.file}: expected {shard.rows} lines from row {shard.first} on, found {found}")


def cut(fs: Any, files: Sequence[str], rows: int, *, quoted: bool = False) -> Iterator[Shard]:
    """Shards of so many lines, by the bytes that they stand in.

    Where texts may be `quoted`, as in CSV, the first line is no row, and line breaks between quotation marks end none.
    """
    number = first = 0
    for name in files:
        for start, stop, count in _pieces(fs, name, rows, quoted):
            yield Shard(number, first, count, name, start, stop)
            number, first = number + 1, first + count


def _pieces(fs: Any, name: str, rows: int, quoted: bool) -> Iterator[tuple[int, int, int]]:
    """A file's shards: the bytes from and to, and the lines in them."""
    begin, count, header = 0, 0, quoted
    end = 0
    for end in _ends(fs, name, quoted):
        if header:
            begin, header = end, False
            continue
        count += 1
        if count == rows:
            yield begin, end, count
            begin, count = end, 0
    if count:
        yield begin, end, count


def _ends(fs: Any, name: str, quoted: bool) -> Iterator[int]:
    """Where each line ends that is not blank, its line break included."""
    at = open_quotes = 0
    blank = True
    with fs.open(name, "rb") as file:
        while block := file.read(BLOCK):
            values = np.frombuffer(block, np.uint8)
            breaks = np.flatnonzero(values == _BREAK)
            if quoted:
                quotes = np.cumsum(values == _QUOTE)
                breaks = breaks[(quotes[breaks] + open_quotes) % 2 == 0]
                open_quotes += int(quotes[-1])
            # A line is blank where nothing but a carriage return stands in it.
            content = np.flatnonzero((values != _BREAK) & (values != _RETURN))
            before = np.searchsorted(content, breaks)  # bytes of content before each break
            new = np.diff(before, prepend=0) > 0
            if len(new) and not blank:
                new[0] = True
            yield from (at + breaks[new] + 1).tolist()
            rest = len(content) - (int(before[-1]) if len(before) else 0)
            blank = rest == 0 and (blank or len(breaks) > 0)
            at += len(block)
    if not blank:
        yield at


class Range:
    """A shard's part of a file, to read from its beginning to its end. Use as a context manager."""

    def __init__(self, fs: Any, shard: Shard) -> None:
        self._file = fs.open(shard.file, "rb")
        self._file.seek(shard.start)
        self._name = shard.file
        self._left = shard.stop - shard.start
        self.closed = False

    def __enter__(self) -> "Range":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        rest = b""
        while block := self.read(BLOCK):
            *lines, rest = (rest + block).split(b"\n")
            yield from lines
        if rest:
            yield rest

    def read(self, size: int = -1) -> bytes:
        """Up to so many bytes. Raises JobFailed where the file has become shorter."""
        block = self._file.read(self._left if size < 0 else min(size, self._left))
        if self._left and not block:
            raise JobFailed(f"{self._name}: expected {self._left} more bytes, found the file's end")
        self._left -= len(block)
        return block

    def close(self) -> None:
        self._file.close()
        self.closed = True
