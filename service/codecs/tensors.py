"""Tensors of the Open Inference Protocol (KServe v2), with its binary extension.

    {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [0.5, 1]}, …], "outputs": […]}

or, in binary, `parameters: {"binary_data_size": 8}` in place of `data`, and the bytes of all such tensors behind the JSON,
in its order, little-endian and row-major. A header says how long the JSON is. Answers are made in the same way.
"""

import itertools
import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import orjson

from service.codecs import numbers
from service.errors import BadRequest, Invalid
from service.inference_schemas import InferBody, InputTensor

DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "bfloat16": "BF16",
}
"""The protocol's names of the dtypes that graphs may use."""

BINARY_SIZE, BINARY = "binary_data_size", "binary_data"
_DTYPES = {"BOOL": "u1", "UINT8": "u1", "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4"}
_FIELD = b'"data"'
_PIECE = 65_536
_EXACT = 2**53
"""From here on numbers that were read as float64 may not be what was sent."""
_MOST_APART = 64
"""Each costs a copy of the text."""


def numbers_apart(blob: bytes) -> tuple[bytes, list[np.ndarray]]:
    """Take the numbers of every `data` out of a long JSON text, piece by piece. Returns the text with null in their
    place, and the numbers in their order; it stops at a `data` that is something else."""
    heads: list[bytes] = []
    arrays: list[np.ndarray] = []
    while len(arrays) < _MOST_APART and (found := numbers.cut_out(blob, "data")) is not None:
        rest, array = found
        end = rest.index(_FIELD) + len(_FIELD)
        heads.append(rest[:end])
        arrays.append(array)
        blob = rest[end:]
    return b"".join([*heads, blob]), arrays


def decode(ask: InferBody, binary: memoryview, apart: Collection[np.ndarray] = ()) -> dict[str, np.ndarray]:
    """The inputs by their names. `binary` is what stands behind the JSON, `apart` what numbers_apart() took out.

    Raises BadRequest where the parts do not fit together, Invalid for a value, naming the tensor.
    """
    taken, found = iter(apart), {}
    at = 0
    for tensor in ask.inputs:
        if tensor.name in found:
            raise Invalid(f"{tensor.name}: expected each input once, found it twice", field=tensor.name)
        if tensor.datatype not in _DTYPES:
            known = ", ".join(_DTYPES)
            raise Invalid(
                f"{tensor.name}: expected a datatype of {known}, found {tensor.datatype!r}", field=tensor.name
            )
        size = tensor.parameters.get(BINARY_SIZE)
        if size is None:
            values = _listed(tensor) if tensor.data is not None else next(taken, None)
            if values is None:
                raise Invalid(f"{tensor.name}: expected data or {BINARY_SIZE}, found neither", field=tensor.name)
            array = _typed(tensor, values.reshape(-1))
        else:
            array = _from_bytes(tensor, size, binary[at:])
            at += array.nbytes
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise Invalid(f"{tensor.name}: expected finite numbers, found NaN or infinity", field=tensor.name)
        found[tensor.name] = array.reshape(tensor.shape)
    if next(taken, None) is not None:
        raise BadRequest("body: expected `data` in inputs only, and once in each")
    if at != len(binary):
        raise BadRequest(f"body: expected {at} bytes of tensors behind the JSON, found {len(binary)}")
    return found


def _from_bytes(tensor: InputTensor, size: Any, binary: memoryview) -> np.ndarray:
    dtype, count = np.dtype(_DTYPES[tensor.datatype]), math.prod(tensor.shape)
    if tensor.data is not None:
        raise Invalid(f"{tensor.name}: expected data or {BINARY_SIZE}, found both", field=tensor.name)
    if size != count * dtype.itemsize or isinstance(size, bool):
        raise Invalid(
            f"{tensor.name}.{BINARY_SIZE}: expected {count * dtype.itemsize} for {tensor.datatype} {tensor.shape}, "
            f"found {size!r:.40}",
            field=tensor.name,
        )
    if size > len(binary):
        raise BadRequest(
            f"{tensor.name}: expected {size} bytes behind the JSON, found {len(binary)}: send the header "
            "Inference-Header-Content-Length with the length of the JSON",
            field=tensor.name,
        )
    # Copied, for they stand at any address, and graphs want aligned numbers.
    array = np.frombuffer(binary, dtype, count).copy()
    if tensor.datatype != "BOOL":
        return array
    if array.max(initial=0) > 1:
        raise Invalid(f"{tensor.name}: expected bytes that are 0 or 1, found {array.max()}", field=tensor.name)
    return array.view(np.bool_)


def _listed(tensor: InputTensor) -> np.ndarray:
    """Flat or nested lists as a flat array of booleans, int64 or float64."""
    values: list[Any] = tensor.data or []
    while values and isinstance(values[0], list):
        if not all(isinstance(value, list) for value in values):
            break
        values = list(itertools.chain.from_iterable(values))
    kinds = {type(value) for value in values}
    if not (kinds <= {int, float} or kinds == {bool}):
        raise Invalid(f"{tensor.name}.data: expected numbers, or booleans, found something else", field=tensor.name)
    try:
        return np.array(values, np.bool_ if bool in kinds else np.float64 if float in kinds else np.int64)
    except OverflowError as error:
        raise Invalid(
            f"{tensor.name}.data: expected numbers of 64 bits, found a larger one", field=tensor.name
        ) from error


def _typed(tensor: InputTensor, values: np.ndarray) -> np.ndarray:
    """Flat numbers as the tensor's dtype, which must be able to say them."""
    if len(values) != math.prod(tensor.shape):
        raise Invalid(
            f"{tensor.name}.data: expected {math.prod(tensor.shape)} values for the shape {tensor.shape}, "
            f"found {len(values)}",
            field=tensor.name,
        )
    dtype = np.dtype(np.bool_ if tensor.datatype == "BOOL" else _DTYPES[tensor.datatype])
    with np.errstate(all="ignore"):
        array = values.astype(dtype)
    # Floats may be rounded, and become infinite, which is looked for afterwards; everything else is to be as it was.
    if (values.dtype == np.bool_ and dtype != np.bool_) or (dtype.kind != "f" and (array != values).any()):
        raise Invalid(
            f"{tensor.name}.data: expected values of {tensor.datatype}, found some that it cannot hold",
            field=tensor.name,
        )
    if values.dtype == np.float64 and dtype.kind == "i" and np.abs(values).max(initial=0) > _EXACT:
        raise Invalid(f"{tensor.name}.data: expected whole numbers up to 2**53: send it in binary", field=tensor.name)
    return array


def encode(
    about: dict[str, Any], outputs: Mapping[str, np.ndarray], in_binary: Collection[str]
) -> tuple[bytes, int | None]:
    """An answer: `about`, and the outputs in their order, those in binary behind the JSON. Returns the body, and the
    length of its JSON where something stands behind it."""
    parts, between = [orjson.dumps(about)[:-1], b',"outputs":['], b""
    behind: list[bytes] = []
    for name, array in outputs.items():
        head: dict[str, Any] = {"name": name, "datatype": DATATYPES[array.dtype.name], "shape": array.shape}
        if name in in_binary:
            behind.append(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
            parts += (between, orjson.dumps(head | {"parameters": {BINARY_SIZE: len(behind[-1])}}))
        else:
            parts += (between, orjson.dumps(head)[:-1], b',"data":[', _in_pieces(array.reshape(-1)), b"]}")
        between = b","
    json = b"".join([*parts, b"]}"])
    return b"".join([json, *behind]), len(json) if behind else None


def _in_pieces(values: np.ndarray) -> bytes:
    """Numbers as JSON without the brackets, in pieces, so that other threads get their turn."""
    if values.dtype == np.float16:
        values = values.astype(np.float32)
    pieces = (np.ascontiguousarray(values[at : at + _PIECE]) for at in range(0, len(values), _PIECE))
    return b",".join(orjson.dumps(piece, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1] for piece in pieces)
