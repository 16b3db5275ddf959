"""Results that were computed before. The same model, request and seed give the same bytes, so a cache of results by
content is exact.

What is kept is what the tasks return, arrays and texts, not what went over the wire: an answer's id and time are then its
own, and the same images are answered as PNG or as numbers from one entry.
"""

import hashlib
import sys
from collections import OrderedDict
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

_LARGEST_SHARE = 4
"""A single result may take this part of the cache, so that it does not push out everything else."""


class ResultCache:
    """The latest used results, bounded by their bytes; 0 keeps none. Not thread-safe: the event loop's own."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._kept: OrderedDict[bytes, tuple[Any, int]] = OrderedDict()

    def get(self, key: bytes) -> Any:
        """The result, None where it is not kept. Whoever reads it must not change it."""
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key][0]

    def put(self, key: bytes, result: Any) -> None:
        """Keep a result, and let go of those used longest ago."""
        size = size_of(result) + sys.getsizeof(key)
        if key in self._kept or size > self.max_bytes // _LARGEST_SHARE:
            return
        self._kept[key] = (result, size)
        self.bytes += size
        while self.bytes > self.max_bytes:
            _, (_, freed) = self._kept.popitem(last=False)
            self.bytes -= freed


def digest(*values: Any) -> bytes:
    """The hash of arrays, dataclasses, sequences, texts, numbers and None: equal for what is equal in type and value."""
    hashed = hashlib.sha256()
    _feed(hashed, values)
    return hashed.digest()


def _feed(hashed: Any, value: Any) -> None:
    if isinstance(value, np.ndarray):
        hashed.update(f"{value.dtype.str}{value.shape}".encode())
        hashed.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8))
    elif isinstance(value, (list, tuple)):
        hashed.update(f"[{len(value)}]".encode())
        for item in value:
            _feed(hashed, item)
    elif is_dataclass(value):
        hashed.update(f"{type(value).__qualname__}(".encode())
        for field in fields(value):
            _feed(hashed, getattr(value, field.name))
    elif value is None or isinstance(value, (bool, int, float, str)):
        hashed.update(f"{value!r},".encode())
    else:
        raise TypeError(f"a {type(value).__name__} has no content to be hashed")


def size_of(value: Any) -> int:
    """About the bytes that a result takes in memory."""
    if isinstance(value, np.ndarray):
        return value.nbytes + sys.getsizeof(value.shape)
    size = sys.getsizeof(value)
    if isinstance(value, (list, tuple)):
        return size + sum(map(size_of, value))
    if is_dataclass(value):
        return size + sum(size_of(getattr(value, field.name)) for field in fields(value))
    return size
