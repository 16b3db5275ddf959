"""Rows of `.npy` files: the first axis counts them. A row is decoded as the service decodes an array that was sent."""

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from jobs.chunks import Chunk, Shard
from jobs.errors import JobFailed
from jobs.sources.cuts import even
from jobs.storage import open_ranges

CHUNK = 8192
_CHUNK_BYTES = 32 * 2**20
_DTYPES = ("bool", "float16", "float32", "float64", "uint8")


@dataclass(frozen=True)
class ArraySource:
    """Arrays (N, …) in C order."""

    fs: Any
    files: Sequence[str]

    def shards(self, rows: int) -> Iterator[Shard]:
        number = first = 0
        for name in self.files:
            with open_ranges(self.fs, name) as file:
                count = _header(file, name)[0][0]
            for start, stop in even(0, count, rows):
                yield Shard(number, first, stop - start, name, start, stop)
                number, first = number + 1, first + stop - start

    def read(self, shard: Shard) -> Iterator[Chunk]:
        with open_ranges(self.fs, shard.file) as file:
            (_, *rest), dtype = _header(file, shard.file)
            bytes_of_row = math.prod(rest) * dtype.itemsize
            file.seek(file.tell() + shard.start * bytes_of_row)
            size = max(1, min(CHUNK, _CHUNK_BYTES // max(1, bytes_of_row)))
            for first, stop in even(shard.first, shard.first + shard.rows, size):
                blob = file.read((stop - first) * bytes_of_row)
                if len(blob) < (stop - first) * bytes_of_row:
                    raise JobFailed(f"{shard.file}: expected row {stop - 1}, found the file's end")
                yield Chunk(np.arange(first, stop), np.frombuffer(blob, dtype).reshape(stop - first, *rest))


def as_sent(array: np.ndarray) -> bytes:
    """The bytes of a `.npy` file, as a client would send them."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=False)
    return stream.getvalue()


def _header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype; the file stands where the numbers begin."""
    try:
        major, _ = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except ValueError as error:
        raise JobFailed(f"{name}: expected a .npy array, found that {error}") from error
    if fortran or not shape or dtype.name not in _DTYPES:
        order = "Fortran" if fortran else "C"
        raise JobFailed(
            f"{name}: expected rows of {', '.join(_DTYPES)} in C order, found {dtype}{list(shape)} in {order} order"
        )
    return shape, dtype
