"""What calls send: arrays, files, rows, tables and texts as the body that the service reads with the least work.

    pictures as an array          application/x-npy, float32
    one picture or table          its bytes under their own media type
    several pictures              multipart/form-data
    rows, vectors, texts          JSON
    a table of pyarrow, pandas …  Arrow's stream

Fields that go beside them stand in the query, in the form or in the JSON object.
"""

import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias, cast

import numpy as np


class Table(Protocol):
    """A table of pyarrow, pandas, polars …: Arrow's PyCapsule interface."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


Array: TypeAlias = np.ndarray[Any, Any]
File: TypeAlias = bytes | os.PathLike[str]
"""The bytes of a file, or where it lies."""
Picture: TypeAlias = Array | File
"""One picture: (C, H, W), or (H, W) where it is grey, floats in [0, 1] or uint8; or a PNG or JPEG file."""
Pictures: TypeAlias = Picture | Sequence[Picture]
"""One or several, and as an array (N, C, H, W), or (N, H, W) where they are grey."""
Items: TypeAlias = (
    Pictures
    | str
    | Mapping[str, Any]
    | Table
    | Sequence[str]
    | Sequence[float]
    | Sequence[Mapping[str, Any]]
    | Sequence[Sequence[Any]]
)
"""Pictures; a text or several; vectors (D,) or (N, D); rows by column name, as lists, as a CSV, Arrow or Parquet file, or
as a table."""

NPY = "application/x-npy"
CSV = "text/csv"
ARROW = "application/vnd.apache.arrow.stream"
_MAGIC = {
    b"\x89PNG": "image/png",
    b"\xff\xd8": "image/jpeg",
    b"\x93NUMPY": NPY,
    b"PAR1": "application/vnd.apache.parquet",
    b"ARROW1": "application/vnd.apache.arrow.file",
    b"\xff\xff\xff\xff": ARROW,
}


@dataclass(frozen=True)
class Body:
    """A body and the query beside it, as httpx.Request takes them."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)


def of_json(content: Mapping[str, Any]) -> Body:
    """The fields that have a value, as one object."""
    return _raw(json_bytes(_given(content)), "application/json")


def of_pictures(pictures: Pictures, fields: Mapping[str, Any]) -> Body:
    """Pictures, with fields beside them."""
    return _of_files(_files(pictures), fields)


def of_parts(parts: Sequence[tuple[str, tuple[bytes, str]]], fields: Mapping[str, Any]) -> Body:
    """Files by the names of their fields, as a form."""
    files = [(name, (name, blob, kind)) for name, (blob, kind) in parts]
    return Body({"files": files, "data": texts(fields)})


def of_items(items: Items, fields: Mapping[str, Any]) -> Body:
    """Whatever can be scored or embedded, with fields beside it."""
    if isinstance(items, str) or _all(items, str):
        return of_json({"input": items, **fields})
    if hasattr(items, "__arrow_c_stream__") or hasattr(items, "__arrow_c_array__"):
        return _raw(_arrow(items), ARROW, texts(fields))
    if isinstance(items, bytes | os.PathLike) or _all(items, (bytes, os.PathLike)):
        return _of_files(_files(cast(Pictures, items), CSV), fields)
    if isinstance(items, Mapping) or _all(items, Mapping):
        return of_json({"inputs": _without_nan(items), **fields})
    array = _array(items)
    if array is not None and array.ndim > 2:
        return of_pictures(array, fields)
    return of_json({"inputs": _without_nan(items if array is None else array.tolist()), **fields})


def picture(given: Picture, otherwise: str = "application/octet-stream") -> tuple[bytes, str]:
    """One array, or the bytes of one file, and their media type: `otherwise` where their beginning tells none."""
    if isinstance(given, bytes | os.PathLike):
        blob = bytes_of(given)
        return blob, next((kind for magic, kind in _MAGIC.items() if blob.startswith(magic)), otherwise)
    array = np.asarray(given)
    stream = io.BytesIO()
    np.save(stream, array.astype(np.float32) if array.dtype == np.float64 else array, allow_pickle=False)
    return stream.getvalue(), NPY


def bytes_of(file: File) -> bytes:
    """What is in a file."""
    return file if isinstance(file, bytes) else Path(file).read_bytes()


def json_bytes(content: Mapping[str, Any]) -> bytes:
    """JSON, of NumPy's numbers and arrays too. Raises ValueError, TypeError for what JSON cannot say."""
    return json.dumps(content, default=_plain, allow_nan=False, separators=(",", ":")).encode()


def texts(fields: Mapping[str, Any]) -> dict[str, str]:
    """For a query or a form."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in _given(fields).items()
    }


def _files(given: Pictures, otherwise: str = "application/octet-stream") -> list[tuple[bytes, str]]:
    if _all(given, (bytes, os.PathLike, np.ndarray)):
        return [picture(one, otherwise) for one in cast(Sequence[Picture], given)]
    return [picture(cast(Picture, given), otherwise)]  # nested lists too


def _of_files(files: Sequence[tuple[bytes, str]], fields: Mapping[str, Any]) -> Body:
    if len(files) == 1:
        return _raw(*files[0], texts(fields))
    return of_parts([("image", file) for file in files], fields)


def _raw(blob: bytes, kind: str, query: Mapping[str, str] | None = None) -> Body:
    return Body({"content": blob, "headers": {"content-type": kind}}, query or {})


def _all(items: object, kinds: Any) -> bool:
    return isinstance(items, Sequence) and len(items) > 0 and all(isinstance(item, kinds) for item in items)


def _array(items: Any) -> Array | None:
    """Numbers as an array; None for rows that hold texts or gaps."""
    try:
        array = np.asarray(items)
    except ValueError:  # lists of several lengths: the service says what is wrong with them
        return None
    return array if array.dtype.kind in "biuf" else None


def _without_nan(rows: Any) -> Any:
    """JSON knows no NaN, and a gap in a row is a null."""
    if isinstance(rows, Mapping):
        return {name: _without_nan(value) for name, value in rows.items()}
    if isinstance(rows, list | tuple):
        return [_without_nan(value) for value in rows]
    return None if isinstance(rows, float | np.floating) and math.isnan(rows) else rows


def _arrow(items: Any) -> bytes:
    try:
        import pyarrow as pa
    except ImportError as error:
        raise ImportError("tables need pyarrow: pip install pyarrow, or send CSV or Parquet as bytes") from error
    pandas = hasattr(items, "iloc")  # whose index is no column
    table = pa.Table.from_pandas(items, preserve_index=False) if pandas else pa.table(items)
    stream = io.BytesIO()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    return stream.getvalue()


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _plain(value: Any) -> Any:
    """What json.dumps does not know: NumPy's numbers and arrays."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"expected numbers, texts, lists or arrays, found {type(value).__name__}")
