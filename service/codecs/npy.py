"""NumPy's `.npy` format, without pickle and without surprises.

The header is read first: dtype, shape and the length that follows from them are checked before anything is allocated.
"""

import io
import math

import numpy as np

from service.errors import BadRequest, Invalid, TooLarge

MEDIA_TYPE = "application/x-npy"
MAGIC = b"\x93NUMPY"
"""What a file begins with."""
_DTYPES = {"float16", "float32", "float64", "uint8", "bool"}


def decode(blob: bytes, max_elements: int, field: str = "body") -> np.ndarray:
    """Read an array. uint8 is scaled from 0…255 to [0, 1]; floats are taken as they are. Returns float32.

    Raises BadRequest (not a .npy), Invalid (dtype, numbers that are not finite), TooLarge.
    """
    stream = io.BytesIO(blob)
    try:
        version = np.lib.format.read_magic(stream)
        reader = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = reader(stream)
    except Exception as error:  # ValueError, KeyError, SyntaxError, RecursionError … from a hostile header
        raise BadRequest(f"{field}: expected a .npy array, found {blob[:8]!r}", field=field) from error
    if dtype.name not in _DTYPES:
        raise Invalid(f"{field}: expected dtype {', '.join(sorted(_DTYPES))}, found {dtype}", field=field)
    count = math.prod(shape)
    if count > max_elements:
        raise TooLarge(f"{field}: the array has {count} elements, the limit is {max_elements}", field=field)
    rest = len(blob) - stream.tell()
    if rest != count * dtype.itemsize or min(shape, default=1) < 0:
        raise BadRequest(
            f"{field}: expected {count * dtype.itemsize} bytes for {dtype}{list(shape)}, found {rest}", field=field
        )
    array = np.frombuffer(blob, dtype, count, stream.tell()).reshape(shape, order="F" if fortran else "C")
    values = array.astype(np.float32) / (255.0 if dtype == np.uint8 else 1.0)
    if not np.isfinite(values).all():
        raise Invalid(f"{field}: expected finite numbers, found NaN or infinity", field=field)
    return np.ascontiguousarray(values, np.float32)


def encode(array: np.ndarray) -> bytes:
    """Write a float32 array."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.ascontiguousarray(array, np.float32), allow_pickle=False)
    return stream.getvalue()
