"""Tables as CSV, Arrow IPC and Parquet bytes: columns found by their names, whatever their order, as a model's vectors;
and written from them.

What a body would become is known before it becomes it: Parquet and Arrow say how many rows and bytes they unpack to, and
CSV is read block by block, no further than the rows that are allowed.
"""

import io
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from contract.manifest import Column
from service.codecs import columns as encoding
from service.codecs.arrow_size import unpacked
from service.errors import AmostraError, BadRequest, Invalid, TooLarge

if TYPE_CHECKING:
    import pyarrow as pa

CSV = "text/csv"
ARROW_STREAM = "application/vnd.apache.arrow.stream"
ARROW_FILE = "application/vnd.apache.arrow.file"
PARQUET = "application/vnd.apache.parquet"
MEDIA_TYPES = (CSV, ARROW_STREAM, ARROW_FILE, PARQUET)

MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")
"""Fields of a CSV file that stand for no value; other formats have a null."""
_BLOCK = 2**20
_SMALL_BYTES, _FIRST_BYTES = 2**17, 2**13
_ARROW_MAGIC = b"ARROW1\0\0"
_COMPRESSED = (b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18")  # what a frame of zstd and of lz4 begins with
_UNKNOWN = -2


def is_small(blob: bytes, media_type: str) -> bool:
    """Whether it is read in a moment: numbers in Arrow's format that are not compressed, and not many."""
    arrow = media_type in (ARROW_STREAM, ARROW_FILE)
    return arrow and len(blob) <= _SMALL_BYTES and not any(magic in blob[:_FIRST_BYTES] for magic in _COMPRESSED)


def decode(
    blob: bytes, media_type: str, columns: Sequence[Column], max_rows: int, max_bytes: int, field: str = "body"
) -> np.ndarray:
    """A table's rows as vectors (N, D) float32. `max_bytes` bounds what compressed bytes unpack to.

    Raises BadRequest (not of that format), Invalid (columns or values, named), TooLarge (rows or bytes).
    """
    table = read(blob, media_type, [column.name for column in columns], max_rows, max_bytes, field)
    return encode(table, columns, as_text=media_type == CSV, field=field)


def encode(table: "pa.Table", columns: Sequence[Column], *, as_text: bool, field: str = "body") -> np.ndarray:
    """The rows of a table as vectors (N, D) float32; `as_text` where numbers are written out. Raises Invalid."""
    plain = None if as_text else _plain_numbers(table, [column.name for column in columns])
    x = None if plain is None else encoding.dense(plain, columns)
    if x is not None:
        return x
    values = {column.name: _values(table.column(column.name), column, as_text, field) for column in columns}
    return encoding.vectors(values, columns, table.num_rows, field)


def written(values: Mapping[str, Sequence[Any]], columns: Sequence[Column], media_type: str) -> bytes:
    """Values by column, None where one is missing, as bytes that `decode` reads."""
    import pyarrow as pa
    from pyarrow import csv, ipc, parquet

    types = {column.name: pa.float32() if column.kind == "number" else pa.string() for column in columns}
    table = pa.table({name: pa.array(values[name], kind) for name, kind in types.items()})
    stream = io.BytesIO()
    if media_type == CSV:
        csv.write_csv(table, stream)
    elif media_type == PARQUET:
        parquet.write_table(table, stream)
    else:
        with (ipc.new_file if media_type == ARROW_FILE else ipc.new_stream)(stream, table.schema) as writer:
            writer.write_table(table)
    return stream.getvalue()


def read(
    blob: bytes, media_type: str, names: Sequence[str] | None, max_rows: int, max_bytes: int, field: str = "body"
) -> "pa.Table":
    """A table with these columns, or all that it has; a CSV file's are texts, without the spaces around them.

    pyarrow takes long to import, and only those who send such bytes need it. Raises as decode does.
    """
    import pyarrow as pa

    reader = {CSV: _csv, PARQUET: _parquet}.get(media_type, _arrow)
    try:
        table = reader(blob, names, max_rows, max_bytes, field)
        # A stranger's offsets may point anywhere, and the names at a file's end differ from those of its parts.
        table.validate(full=True)
        encoding.check_names(table.column_names, names or table.column_names, field, field)
    except AmostraError:
        raise
    except (pa.ArrowException, struct.error, LookupError, OSError, ValueError) as error:
        raise BadRequest(f"{field}: expected {media_type}, found {str(error)[:200]}", field=field) from error
    if not table.num_rows:
        raise Invalid(f"{field}: expected at least one row, found none", field=field)
    return table


def _check_rows(count: int, limit: int, field: str, more: str = "") -> None:
    if count > limit:
        raise TooLarge(f"{field}: {more}{count} rows, the limit is {limit}: send fewer at once", field=field)


def _check_bytes(count: int, limit: int, field: str) -> None:
    if count > limit:
        raise TooLarge(f"{field}: {count} bytes when unpacked, the limit is {limit}: send fewer rows", field=field)


def _csv(blob: bytes, names: Sequence[str] | None, max_rows: int, max_bytes: int, field: str) -> "pa.Table":
    import pyarrow as pa
    from pyarrow import csv

    reading = csv.ReadOptions(use_threads=False, block_size=_BLOCK)
    parsing = csv.ParseOptions(newlines_in_values=b'"' in blob)
    if names is None:
        names = csv.open_csv(pa.BufferReader(blob), reading, parsing).schema.names
    texts = csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), check_utf8=True)
    reader = csv.open_csv(pa.BufferReader(blob), reading, parsing, texts)
    encoding.check_names(reader.schema.names, names, field, field)
    batches, count = [], 0
    for batch in reader:
        count += batch.num_rows
        _check_rows(count, max_rows, field, "at least ")
        batches.append(batch)
    return pa.Table.from_batches(batches, reader.schema)


def _arrow(blob: bytes, names: Sequence[str] | None, max_rows: int, max_bytes: int, field: str) -> "pa.Table":
    import pyarrow as pa
    from pyarrow import ipc

    # A file is a stream between a magic word and an index.
    buffer = pa.py_buffer(blob)[len(_ARROW_MAGIC) :] if blob.startswith(_ARROW_MAGIC) else pa.py_buffer(blob)
    rows, size = unpacked(ipc.MessageReader.open_stream(pa.BufferReader(buffer)))
    _check_rows(rows, max_rows, field)
    _check_bytes(size, max_bytes, field)
    reader = ipc.open_stream(pa.BufferReader(buffer))
    encoding.check_names(reader.schema.names, names or reader.schema.names, field, field)
    return reader.read_all()


def _parquet(blob: bytes, names: Sequence[str] | None, max_rows: int, max_bytes: int, field: str) -> "pa.Table":
    import pyarrow as pa
    from pyarrow import parquet

    source = pa.BufferReader(blob)
    about = parquet.ParquetFile(source).metadata
    groups = [about.row_group(i) for i in range(about.num_row_groups)]
    # The decoder goes by the rows of each part, which need not be those of the file.
    _check_rows(max(about.num_rows, sum(abs(group.num_rows) for group in groups)), max_rows, field)
    _check_bytes(sum(abs(group.total_byte_size) for group in groups), max_bytes, field)
    schema = about.schema.to_arrow_schema()
    encoding.check_names(schema.names, names or schema.names, field, field)
    texts = [one.name for one in schema if pa.types.is_string(one.type) or pa.types.is_large_string(one.type)]
    # A long text that all rows share stays one text.
    file = parquet.ParquetFile(source, read_dictionary=texts)
    return file.read(use_threads=False)


def _plain_numbers(table: "pa.Table", names: Sequence[str]) -> np.ndarray | None:
    """Columns of numbers as they are, (N, K) float32 or float64, NaN where one is missing; None where one is of another
    type."""
    from pyarrow import types

    of_names = table.select(names)
    if not all(types.is_integer(t) or types.is_float32(t) or types.is_float64(t) for t in of_names.schema.types):
        return None
    batches = of_names.combine_chunks().to_batches()
    if len(batches) != 1:  # of no rows, or of more than a chunk can hold
        return None
    values = batches[0].to_tensor(null_to_nan=True).to_numpy()
    return values if values.dtype.kind == "f" else values.astype(np.float64)


def _values(given: "pa.ChunkedArray", column: Column, as_text: bool, field: str) -> np.ndarray:
    import pyarrow as pa

    try:
        array = (
            given.unify_dictionaries().combine_chunks()
            if pa.types.is_dictionary(given.type)
            else given.combine_chunks()
        )
    except LookupError as error:  # Arrow has types that Python has not
        raise Invalid(
            f"{field}: column {column.name!r:.80}: expected numbers or categories, found the type {str(given.type)[:80]}",
            field=field,
        ) from error
    if isinstance(array, pa.ChunkedArray):  # of no or several chunks
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], given.type)
    return (numbers if column.kind == "number" else codes)(array, column, as_text, field)


def numbers(array: "pa.Array", column: Column, as_text: bool, field: str) -> np.ndarray:
    """A column of numbers (N,) float64, NaN where one is missing. Raises Invalid."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    if as_text:
        array = texts(array)
        array = pc.if_else(pc.is_in(array, value_set=pa.array(MISSING, pa.string())), None, array)
    elif not any(is_kind(kind) for is_kind in _numeric()):
        raise Invalid(
            f"{field}: column {column.name!r:.80}: expected numbers, found the type {str(kind)[:80]}", field=field
        )
    try:
        return array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid as error:
        row = next(i for i, value in enumerate(array) if not _is_number(value))
        raise encoding.refused(field, row, column, "expected a number", f"{array[row].as_py()!r:.80}") from error


def _numeric() -> Iterable[Callable[[Any], bool]]:
    from pyarrow import types

    return types.is_integer, types.is_floating, types.is_decimal, types.is_null


def _is_number(value: "pa.Scalar") -> bool:
    import pyarrow as pa

    try:
        value.cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def codes(array: "pa.Array", column: Column, as_text: bool, field: str) -> np.ndarray:
    """A column of categories as their places (N,) int64, -1 where one is missing. Raises Invalid."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = array.dictionary if pa.types.is_dictionary(array.type) else array
    kind = found.type
    if not any(is_kind(kind) for is_kind in _nameable()):
        raise Invalid(
            f"{field}: column {column.name!r:.80}: expected categories, found the type {str(kind)[:80]}",
            field=field,
        )
    missing = pa.array(MISSING if as_text else ("",), pa.string())
    found = texts(found)
    places = pc.index_in(found, value_set=pa.array(column.categories, pa.string())).fill_null(_UNKNOWN)
    nothing = pc.or_(found.is_null(), pc.is_in(found, value_set=missing))
    of_value = np.where(nothing.to_numpy(zero_copy_only=False), -1, places.to_numpy(zero_copy_only=False))
    if pa.types.is_dictionary(array.type):
        at = array.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        of_value = np.append(of_value, -1)[at]  # the last place is that of no value
    unknown = np.flatnonzero(of_value == _UNKNOWN)
    if len(unknown):
        row = int(unknown[0])
        raise encoding.unknown_category(field, row, column, array[row].as_py())
    return of_value.astype(np.int64)


def _nameable() -> Iterable[Callable[[Any], bool]]:
    from pyarrow import types

    return types.is_string, types.is_large_string, types.is_boolean, types.is_integer, types.is_null


def texts(array: "pa.Array") -> "pa.Array":
    """Values as texts, without the spaces around them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.utf8_trim_whitespace(array.cast(pa.string()))
