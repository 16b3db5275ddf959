"""A table is the same vectors in every format, whatever its columns' order; a hostile one costs nothing."""

import base64
import io
import time
import tracemalloc
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, ipc, parquet

from contract.manifest import Column
from service.codecs import table
from service.codecs.columns import from_objects
from service.errors import AmostraError, BadRequest, Invalid, TooLarge

COLUMNS = (
    Column(name="pressure"),
    Column(name="flow", may_be_missing=True, fill=0.5),
    Column(name="valve", kind="category", categories=("open", "shut"), may_be_missing=True),
)
ONE = (Column(name="pressure"),)
ROWS = [
    {"pressure": 1.5, "flow": None, "valve": "open"},
    {"pressure": -2.0, "flow": 3.0, "valve": None},
    {"pressure": 1e-3, "flow": 0.25, "valve": "shut"},
]
MAX_ROWS, MAX_BYTES = 100, 100_000


def written(rows: pa.Table, media_type: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    if media_type == table.CSV:
        csv.write_csv(rows, stream)
    elif media_type == table.PARQUET:
        parquet.write_table(rows, stream, **options)
    else:
        new = ipc.new_file if media_type == table.ARROW_FILE else ipc.new_stream
        with new(stream, rows.schema, options=ipc.IpcWriteOptions(**options)) as writer:
            writer.write_table(rows)
    return stream.getvalue()


def decode(blob: bytes, media_type: str, columns: tuple[Column, ...] = COLUMNS, limit: int = MAX_ROWS) -> np.ndarray:
    return table.decode(blob, media_type, columns, limit, MAX_BYTES)


EXPECTED = from_objects(ROWS, COLUMNS, "inputs")


@pytest.mark.parametrize("media_type", table.MEDIA_TYPES)
def test_every_format_is_the_rows_that_json_would_be(media_type: str) -> None:
    rows = pa.Table.from_pylist(ROWS)
    assert np.array_equal(decode(written(rows, media_type), media_type), EXPECTED)
    assert np.array_equal(decode(written(rows.select(["valve", "pressure", "flow"]), media_type), media_type), EXPECTED)


@pytest.mark.parametrize("media_type", [table.ARROW_STREAM, table.ARROW_FILE])
@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_arrow_may_be_compressed_and_dictionaries_and_in_batches(media_type: str, compression: str) -> None:
    rows = pa.Table.from_pylist(ROWS * 20)
    rows = rows.set_column(2, "valve", rows.column("valve").dictionary_encode())
    rows = pa.concat_tables([rows.slice(0, 7), rows.slice(7)])
    found = decode(written(rows, media_type, compression=compression), media_type)
    assert np.array_equal(found, np.tile(EXPECTED, (20, 1)))


@pytest.mark.parametrize("media_type", [table.ARROW_STREAM, table.PARQUET])
def test_numbers_of_any_type_and_bools_as_categories(media_type: str) -> None:
    alarm = Column(name="alarm", kind="category", categories=("false", "true"))
    for kind in (pa.int8(), pa.uint64(), pa.float32(), pa.decimal128(22, 2)):
        rows = pa.table({"pressure": pa.array([1, 2]).cast(kind), "alarm": [True, False]})
        assert decode(written(rows, media_type), media_type, (*ONE, alarm)).tolist() == [[1, 0, 1], [2, 1, 0]]


PLAIN = tuple(Column(name=name) for name in "abc")


def test_plain_numbers_are_read_at_once_as_they_are_one_by_one() -> None:
    rng = np.random.default_rng(0)
    given = {"a": rng.normal(size=50), "b": rng.integers(-(2**40), 2**40, 50), "c": np.float32(rng.normal(size=50))}
    rows = pa.table({name: given[name] for name in "bca"})
    for table_of in (rows, pa.concat_tables([rows[:7], rows[7:]]), rows.append_column("more", pa.array(["x"] * 50))):
        found = table.encode(table_of, PLAIN, as_text=False)
        assert found.dtype == np.float32
        for number, column in enumerate(PLAIN):
            alone = column.model_copy(update={"may_be_missing": True})
            assert np.array_equal(found[:, number], table.encode(table_of, (alone,), as_text=False)[:, 0])
            assert np.array_equal(found[:, number], given[column.name].astype(np.float32))


@pytest.mark.parametrize(
    ("value", "problem"),
    [(None, "expected a value"), (np.nan, "expected a value"), (np.inf, "finite"), (1e39, "finite")],
)
def test_a_number_that_is_none_among_plain_ones_is_named(value: float | None, problem: str) -> None:
    rows = pa.table({"a": [1.0, 2.0, 3.0], "b": [1.0, value, 2.0], "c": [1, 2, 3]})
    with pytest.raises(Invalid, match=f"row 1, column 'b': .*{problem}"):
        decode(written(rows, table.ARROW_STREAM), table.ARROW_STREAM, PLAIN)


def test_only_few_numbers_that_are_not_compressed_are_small() -> None:
    few, many = (pa.table({"a": np.arange(count) / 7}) for count in (1000, 100_000))
    arrow = table.ARROW_STREAM
    assert table.is_small(written(few, arrow), arrow)
    assert not table.is_small(written(many, arrow), arrow)
    assert not any(table.is_small(written(few, arrow, compression=by), arrow) for by in ("zstd", "lz4"))
    assert not table.is_small(written(few, table.CSV), table.CSV)
    assert not table.is_small(written(few, table.PARQUET), table.PARQUET)


def test_a_csv_file_has_spaces_quotes_and_several_words_for_nothing() -> None:
    blob = b'\xef\xbb\xbf"valve",flow,pressure\r\n open , NA ,1.5\r\n,3.0,-2\r\n"shut",0.25," 1e-3"\r\n'
    assert np.array_equal(decode(blob, table.CSV), EXPECTED)


CSV_REFUSED = {
    "an unknown column": ("pressure,flow,valves\n1,2,open\n", "no column 'valve', unknown column 'valves'"),
    "a column twice": ("pressure,flow,valve,flow\n1,2,open,3\n", "twice the column 'flow'"),
    "an unknown category": ("pressure,flow,valve\n1,2,open\n1,2,ajar\n", "row 1, column 'valve': expected one of 'open', 'shut', found 'ajar'"),
    "a text for a number": ("pressure,flow,valve\n1,2,open\n1,two,open\n", "row 1, column 'flow': expected a number, found 'two'"),
    "nothing where a value is needed": ("pressure,flow,valve\n1,2,open\n,2,open\n", "row 1, column 'pressure': expected a value"),
    "NaN where a value is needed": ("pressure,flow,valve\nNaN,2,open\n", "row 0, column 'pressure': expected a value"),
    "infinity": ("pressure,flow,valve\n1,-inf,open\n", "row 0, column 'flow': expected a finite number within float32, found -inf"),
    "a header alone": ("pressure,flow,valve\n", "expected at least one row"),
}  # fmt: skip


@pytest.mark.parametrize("case", CSV_REFUSED)
def test_csv_is_refused_by_row_and_column(case: str) -> None:
    text, message = CSV_REFUSED[case]
    with pytest.raises(Invalid) as error:
        decode(text.encode(), table.CSV)
    assert message in error.value.detail


@pytest.mark.parametrize("media_type", [table.ARROW_STREAM, table.PARQUET])
def test_types_and_values_of_arrow_and_parquet_are_refused_by_column(media_type: str) -> None:
    refused = {
        "column 'pressure': expected numbers, found the type string": {"pressure": ["1"]},
        "column 'pressure': expected numbers, found the type list": {"pressure": [[1.0]]},
        "column 'valve': expected categories, found the type double": {"valve": [1.5]},
        "row 0, column 'pressure': expected a value": {"pressure": pa.array([None], pa.float64())},
        "row 0, column 'pressure': expected a finite number": {"pressure": [float("inf")]},
        "row 0, column 'valve': expected one of 'open', 'shut', found 'ajar'": {"valve": ["ajar"]},
    }
    for message, changes in refused.items():
        rows = pa.table({"pressure": [1.0], "flow": [1.0], "valve": ["open"], **changes})
        with pytest.raises(Invalid) as error:
            decode(written(rows, media_type), media_type)
        assert message in error.value.detail


@pytest.mark.parametrize("media_type", table.MEDIA_TYPES)
def test_too_many_rows_are_refused_at_the_price_of_few(media_type: str) -> None:
    """Three million rows that are a moment's work to refuse, where they would be one of seconds and gigabytes."""
    if media_type == table.CSV:
        blob = b"pressure\n" + b"1\n" * 3_000_000
    else:
        packed = {"compression": "zstd"} if media_type != table.PARQUET else {}
        blob = written(pa.table({"pressure": np.zeros(3_000_000)}), media_type, **packed)
    with pytest.raises(TooLarge, match=r"rows, the limit is 100: send fewer"):
        decode(blob, media_type, ONE)
    before, start = pa.total_allocated_bytes(), time.process_time()
    tracemalloc.start()
    for _ in range(3):
        with pytest.raises(TooLarge):
            decode(blob, media_type, ONE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert time.process_time() - start < 1.5
    assert peak < 2 * 2**20
    assert pa.total_allocated_bytes() - before < 2**20


@pytest.mark.parametrize("media_type", [table.ARROW_STREAM, table.ARROW_FILE, table.PARQUET])
def test_few_rows_that_unpack_to_much_are_refused(media_type: str) -> None:
    column = pa.array(["x" * 100_000] * 10)
    packed = {"use_dictionary": False} if media_type == table.PARQUET else {}
    blob = written(pa.table({"valve": column}), media_type, compression="zstd", **packed)
    assert len(blob) < 20_000
    with pytest.raises(TooLarge, match=r"1\d{6} bytes when unpacked, the limit is 100000"):
        decode(blob, media_type, (COLUMNS[2],))


def test_a_part_of_a_parquet_file_that_says_more_rows_than_the_file_is_refused() -> None:
    """The decoder goes by the parts: some bytes more in the number, and 963 bytes cost it 80 s and 16 GB."""
    whole = written(pa.table({"pressure": [1.0, 2.0]}), table.PARQUET)
    two_rows, many_rows = b"\x16\x04\x26", b"\x16\x7e\x26"  # as RowGroup.num_rows, before its file_offset
    assert whole.count(two_rows) == 1
    damaged = whole.replace(two_rows, many_rows)
    assert parquet.ParquetFile(io.BytesIO(damaged)).metadata.num_rows == 2
    with pytest.raises(TooLarge, match="63 rows, the limit is 10:"):
        decode(damaged, table.PARQUET, ONE, limit=10)


@pytest.mark.parametrize("media_type", table.MEDIA_TYPES)
def test_what_is_not_of_its_format_is_a_bad_request(media_type: str) -> None:
    whole = written(pa.Table.from_pylist(ROWS), media_type)
    rng = np.random.default_rng(0)
    for blob in (b"", b"\x00" * 40, b"ARROW1\0\0", b"PAR1PAR1", rng.bytes(500), b"\xff\xfe" + whole):
        with pytest.raises((BadRequest, Invalid)):
            decode(blob, media_type)


@pytest.mark.parametrize("media_type", [table.ARROW_STREAM, table.ARROW_FILE, table.PARQUET])
def test_a_damaged_file_is_an_error_of_ours_and_never_another(media_type: str) -> None:
    whole = written(pa.Table.from_pylist(ROWS * 5), media_type)
    rng = np.random.default_rng(1)
    for _ in range(300):
        blob = bytearray(whole)
        for at in rng.integers(len(blob), size=3):
            blob[at] = rng.integers(256)
        try:
            found = decode(bytes(blob[: rng.integers(len(blob) // 2, len(blob) + 1)]), media_type)
        except AmostraError:
            continue
        assert np.isfinite(found).all()


INTERVALS = (
    "/////8gAAAAQAAAAAAAKAAwABgAFAAgACgAAAAABBAAMAAAACAAIAAAABAAIAAAABAAAAAMAAABsAAAAMAAAAAQAAACw////AAAB"
    "CxAAAAAYAAAABAAAAAAAAAABAAAAYwAAAAQABAAEAAAA2P///wAAAQMQAAAAFAAAAAQAAAAAAAAAAQAAAGIAAADK////AAACABAA"
    "FAAIAAYABwAMAAAAEAAQAAAAAAABAxAAAAAYAAAABAAAAAAAAAABAAAAYQAGAAgABgAGAAAAAAACAP/////4AAAAFAAAAAAAAAAM"
    "ABYABgAFAAgADAAMAAAAAAMEABgAAABAAAAAAAAAAAAACgAYAAwABAAIAAoAAACMAAAAEAAAAAIAAAAAAAAAAAAAAAcAAAAAAAAA"
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAQAAAAAAAAABAAAAAAAAAAAQAAAAAAAAAYAAAAAAAAABAAAAAAAAAAKAAAAAAAAAAAAAAAAAAA"
    "ACgAAAAAAAAADAAAAAAAAAA4AAAAAAAAAAIAAAAAAAAAAAAAAAMAAAACAAAAAAAAAAAAAAAAAAAAAgAAAAAAAAABAAAAAAAAAAIA"
    "AAAAAAAAAAAAAAAAAAAAAAAAAADwPwAAAAAAAABAAgAAAAAAAAAAAAAAAAAAAAAAAAAAAAhbAAAAAAEAAAACAAAAAAAAAHh5AAAA"
    "AAAA/////wAAAAA="
)
"""A stream whose column has a type of Arrow's that pyarrow has no class for; found by fuzzing."""


def test_a_type_that_python_does_not_have_is_refused_by_column() -> None:
    columns = (
        Column(name="a"),
        Column(name="b", may_be_missing=True),
        Column(name="c", kind="category", categories=("x", "y")),
    )
    with pytest.raises(Invalid, match=r"column 'c': expected numbers or categories, found the type month_interval"):
        table.decode(base64.b64decode(INTERVALS), table.ARROW_STREAM, columns, 1000, 2**20)
