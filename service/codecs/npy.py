"""NumPy's `.npy` format, without pickle and without surprises.

The header is read first: dtype, shape and the length that follows from them are checked before anything is allocated.
"""

import io
import math
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np

from service.errors import BadRequest, Invalid, TooLarge

MEDIA_TYPE = "application/x-npy"
MAGIC = b"\x93NUMPY"
"""What a file begins with."""
_VERSION_1 = MAGIC + b"\x01\x00"
_COMMON_HEADER, _MAX_HEADER = 128, 2**17
_NAMES = ("bool", "float16", "float32", "float64", "uint8")
_FLOAT32 = np.dtype(np.float32)
_DTYPES = {dtype for name in _NAMES for dtype in (np.dtype(name), np.dtype(name).newbyteorder())}


def decode(blob: bytes, max_elements: int, field: str = "body") -> np.ndarray:
    """Read an array. uint8 is scaled from 0…255 to [0, 1]; floats are taken as they are. Returns float32.

    Raises BadRequest (not a .npy), Invalid (dtype, numbers that are not finite), TooLarge.
    """
    start = 10 + int.from_bytes(blob[8:10], "little")  # of the numbers, in version 1.0
    known = blob.startswith(_VERSION_1) and start <= _COMMON_HEADER
    try:
        head = (_common_header if known else _header)(blob[: start if known else _MAX_HEADER])
    except Exception as error:  # ValueError, KeyError, SyntaxError, RecursionError … from a hostile header
        raise BadRequest(f"{field}: expected a .npy array, found {blob[:8]!r}", field=field) from error
    if not head.taken:
        raise Invalid(f"{field}: expected dtype {', '.join(_NAMES)}, found {head.dtype}", field=field)
    if head.size > max_elements:
        raise TooLarge(f"{field}: the array has {head.size} elements, the limit is {max_elements}", field=field)
    rest = len(blob) - head.start
    if rest != head.nbytes:
        raise BadRequest(
            f"{field}: expected {head.nbytes} bytes for {head.dtype}{list(head.shape)}, found {rest}", field=field
        )
    values = np.ndarray(head.shape, head.dtype, blob, head.start, order=head.order).astype(_FLOAT32, order="C")
    if head.scaled:
        values /= 255.0
    if np.count_nonzero(np.isfinite(values)) < head.size:
        raise Invalid(f"{field}: expected finite numbers, found NaN or infinity", field=field)
    return values


def encode(array: np.ndarray, dtype: Any = np.float32) -> bytes:
    """Write an array of floats."""
    return b"".join((_written_header(array.shape, dtype), np.ascontiguousarray(array, dtype).data))


@lru_cache(256)
def _written_header(shape: tuple[int, ...], dtype: Any) -> bytes:
    stream = io.BytesIO()
    about = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, about)
    return stream.getvalue()


class _Header(NamedTuple):
    """What a header says: where the numbers `start`, how many they are (`size`, `nbytes`), whether such are `taken`, and to
    be `scaled`."""

    shape: tuple[int, ...]
    order: Literal["C", "F"]
    dtype: np.dtype
    start: int
    size: int
    nbytes: int
    taken: bool
    scaled: bool


def _header(blob: bytes) -> _Header:
    """What a file's header says. Raises whatever numpy raises."""
    stream = io.BytesIO(blob)
    reader = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[np.lib.format.read_magic(stream)]
    shape, fortran, dtype = reader(stream)
    if min(shape, default=1) < 0:
        raise ValueError("a side is negative")
    size, taken = math.prod(shape), dtype in _DTYPES
    return _Header(
        shape,
        "F" if fortran else "C",
        dtype,
        start=stream.tell(),
        size=size,
        nbytes=size * dtype.itemsize,
        taken=taken,
        scaled=taken and dtype == np.uint8,
    )


_common_header = lru_cache(256)(_header)
"""Clients send arrays of the same shape again and again, and numpy takes a header apart with Python's own parser."""
