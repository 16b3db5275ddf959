"""The .npy codec: arrays come back as they were, and a hostile header costs nothing."""

import io
import pickle
import struct
import tracemalloc

import numpy as np
import pytest

from service.codecs import npy
from service.errors import AmostraError, BadRequest, Invalid, TooLarge

LIMIT = 1000


def saved(array: np.ndarray, **options: object) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def with_header(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode() + b"\n"
    length = struct.pack("<H" if version == b"\x01\x00" else "<I", len(text))
    return b"\x93NUMPY" + version + length + text + data


def test_round_trip() -> None:
    array = np.random.default_rng(0).normal(size=(2, 1, 5, 7)).astype(np.float32)
    decoded = npy.decode(npy.encode(array), LIMIT)
    assert decoded.dtype == np.float32
    assert np.array_equal(decoded, array)


def test_what_is_encoded_is_read_by_numpy() -> None:
    array = np.random.default_rng(0).random((3, 4)).astype(np.float32)
    assert np.array_equal(np.load(io.BytesIO(npy.encode(array)), allow_pickle=False), array)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8", ">f8", "?"])
def test_numbers_are_taken_as_they_are(dtype: str) -> None:
    array = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]]).astype(dtype)
    assert np.array_equal(npy.decode(saved(array), LIMIT), array.astype(np.float32))


def test_bytes_are_scaled_to_one() -> None:
    decoded = npy.decode(saved(np.array([0, 51, 255], np.uint8)), LIMIT)
    assert decoded.tolist() == pytest.approx([0, 0.2, 1])


def test_fortran_order_is_understood() -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    decoded = npy.decode(saved(np.asfortranarray(array)), LIMIT)
    assert np.array_equal(decoded, array)
    assert decoded.flags.c_contiguous


def test_header_version_two_is_read() -> None:
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }"
    blob = with_header(header, np.float32([1, 2]).tobytes(), b"\x02\x00")
    assert npy.decode(blob, LIMIT).tolist() == [1, 2]


FLOATS = "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }"
HOSTILE = {
    "nothing": (b"", BadRequest),
    "magic only": (b"\x93NUMPY", BadRequest),
    "no array": (b"GIF89a" * 10, BadRequest),
    "pickle": (pickle.dumps(np.zeros(3)), BadRequest),
    "objects": (saved(np.array([{"a": 1}], object), allow_pickle=True), Invalid),
    "records": (saved(np.zeros(3, [("a", "f4")])), Invalid),
    "text": (saved(np.array(["a"])), Invalid),
    "complex": (saved(np.zeros(3, complex)), Invalid),
    "integers": (saved(np.zeros(3, np.int64)), Invalid),
    "dates": (saved(np.zeros(3, "M8[s]")), Invalid),
    "NaN": (saved(np.array([0.0, np.nan])), Invalid),
    "infinity": (saved(np.array([0.0, -np.inf])), Invalid),
    "too large for float32": (saved(np.array([1e300])), Invalid),
    "cut off": (saved(np.zeros(100))[:-1], BadRequest),
    "longer than it says": (saved(np.zeros(100)) + b"\0", BadRequest),
    "too many elements": (saved(np.zeros(LIMIT + 1, np.uint8)), TooLarge),
    "terabytes": (with_header(FLOATS % "(1000000, 1000000)"), TooLarge),
    "overflowing shape": (with_header(FLOATS % "(4294967296, 4294967296, 4294967296)"), TooLarge),
    "negative side": (with_header(FLOATS % "(-1,)", b"\0" * 4), BadRequest),
    "two negative sides": (with_header(FLOATS % "(-1, -1)", b"\0" * 4), BadRequest),
    "shape of words": (with_header(FLOATS % "('a',)"), BadRequest),
    "code in the header": (with_header("__import__('os').abort()"), BadRequest),
    "deep header": (with_header("(" * 5000 + ")" * 5000), BadRequest),
    "long header": (with_header(" " * 60_000), BadRequest),
    "header longer than the body": (b"\x93NUMPY\x01\x00\xff\xff{", BadRequest),
    "version of the future": (with_header(FLOATS % "(1,)", b"\0" * 4, b"\x09\x00"), BadRequest),
    "dtype of another kind": (
        with_header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"\0" * 8),
        Invalid,
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_hostile_arrays_are_refused_by_name_and_without_memory(case: str) -> None:
    blob, refusal = HOSTILE[case]
    tracemalloc.start()
    try:
        with pytest.raises(AmostraError) as caught:
            npy.decode(blob, LIMIT, "image[0]")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert type(caught.value) is refusal
    assert caught.value.field == "image[0]"
    assert caught.value.detail.startswith("image[0]: ")
    assert peak < 2**23


@pytest.mark.parametrize("shape", [(0,), (0, 8), (3, 0, 0)])
def test_empty_arrays_stay_empty(shape: tuple[int, ...]) -> None:
    assert npy.decode(saved(np.zeros(shape, np.float32)), LIMIT).shape == shape


def test_double_precision_is_kept_where_it_is_asked_for() -> None:
    array = np.array([[1 / 3, -598.2]])
    assert np.load(io.BytesIO(npy.encode(array, np.float64))).tolist() == array.tolist()
