"""Rows of a table in every format, scored as the vectors that they stand for."""

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, ipc, parquet

from service.codecs import table
from tests.service.api.client import Api, b64, npy
from tests.toys.directories import DETECTOR, SENSORS, TABLE

ROWS = [
    {"pressure": 1.5, "flow": None, "valve": "open"},
    {"pressure": -2.0, "flow": 3.0, "valve": "shut"},
]


def bodies(rows: list[dict[str, Any]]) -> dict[str, bytes]:
    """The same rows by media type."""
    made, arrow = {}, pa.Table.from_pylist(rows)
    for media_type in table.MEDIA_TYPES:
        stream = io.BytesIO()
        if media_type == table.CSV:
            csv.write_csv(arrow, stream)
        elif media_type == table.PARQUET:
            parquet.write_table(arrow, stream)
        else:
            new = ipc.new_file if media_type == table.ARROW_FILE else ipc.new_stream
            with new(stream, arrow.schema) as writer:
                writer.write_table(arrow)
        made[media_type] = stream.getvalue()
    return made


def scores(api: Api, path: str = f"/v1/score?model={SENSORS}", **request: Any) -> list[float]:
    answer = api.post(path, **request)
    assert answer.status_code == 200, answer.text
    return [item["score"] for item in answer.json()["data"]]


def test_objects_lists_and_files_are_the_same_rows(api: Api) -> None:
    expected = scores(api, "/v1/score", json={"model": SENSORS, "inputs": ROWS})
    assert len(set(expected)) == 2
    as_lists = [list(row.values()) for row in ROWS]
    assert scores(api, "/v1/score", json={"model": SENSORS, "inputs": as_lists}) == expected
    for media_type, body in bodies(ROWS).items():
        assert scores(api, content=body, headers={"content-type": f"{media_type}; charset=utf-8"}) == expected


def test_one_row_may_come_without_a_list_around_it(api: Api) -> None:
    expected = scores(api, "/v1/score", json={"model": SENSORS, "inputs": ROWS})[1:]
    assert scores(api, "/v1/score", json={"model": SENSORS, "inputs": ROWS[1]}) == expected
    assert scores(api, "/v1/score", json={"model": SENSORS, "inputs": [-2.0, 3.0, "shut"]}) == expected


def test_vectors_have_columns_too(api: Api) -> None:
    """Of a model with names only, and embedded as well as scored."""
    rows = [{"c": 3.0, "a": 1.0, "b": 2.0}, {"a": 0.5, "b": 0, "c": -1}]
    plain = [[1.0, 2.0, 3.0], [0.5, 0.0, -1.0]]
    assert scores(api, "/v1/score", json={"model": TABLE, "inputs": rows}) == scores(
        api, "/v1/score", json={"model": TABLE, "inputs": plain}
    )
    embedded = [
        api.post("/v1/embeddings", json={"model": TABLE, "inputs": given}).json()["data"] for given in (rows, plain)
    ]
    assert embedded[0] == embedded[1]
    for media_type, body in bodies(rows).items():
        found = api.post(f"/v1/embeddings?model={TABLE}", content=body, headers={"content-type": media_type})
        assert found.json()["data"] == embedded[0]


REFUSED = {
    "an unknown category": ([{**ROWS[0], "valve": "ajar"}], "row 0, column 'valve': expected one of 'open', 'shut', found 'ajar'"),
    "an unknown column": ([{**ROWS[0], "speed": 1}], "unknown column 'speed'"),
    "a missing column": ([{"pressure": 1, "flow": 2}], "no column 'valve'"),
    "a missing value": ([{**ROWS[0], "pressure": None}], "row 0, column 'pressure': expected a value"),
    "a text for a number": ([[1, "2", "open"]], "row 0, column 'flow': expected a number, found '2'"),
    "a vector as it is inside": ([[1.0, 2.0, 0.0, 1.0, 0.0]], "row 0: expected a list of 3 values"),
    "nothing": ([], "inputs: expected at least one item"),
    "a number": (3, "inputs: expected rows as objects or lists, found 3"),
    "a text": ("open", "inputs: expected rows as objects or lists, found 'open'"),
    "numbers of several depths": ([[[1.0]]], "row 0: expected a list of 3 values"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_rows_are_refused_by_name(api: Api, case: str) -> None:
    inputs, message = REFUSED[case]
    answer = api.post("/v1/score", json={"model": SENSORS, "inputs": inputs})
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "inputs")
    assert message in answer.json()["detail"]


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(api: Api, literal: str) -> None:
    for row in (f"[{literal}, 2.0, 3.0]", f'{{"a": {literal}, "b": 2.0, "c": 3.0}}'):
        content = f'{{"model": "{TABLE}", "inputs": [{row}]}}'
        answer = api.post("/v1/score", content=content.encode(), headers={"content-type": "application/json"})
        assert answer.status_code in (400, 422), answer.text
    assert api.post("/v1/score", json={"model": TABLE, "inputs": [[0, 0, 0]]}).status_code == 200


def test_too_many_rows_are_refused_in_every_format(api: Api) -> None:
    rows = ROWS * 51
    answer = api.post("/v1/score", json={"model": SENSORS, "inputs": rows})
    assert (answer.status_code, answer.json()["detail"]) == (
        413,
        "inputs: 102 items, the limit is 100: send fewer at once",
    )
    for media_type, body in bodies(rows).items():
        answer = api.post(f"/v1/score?model={SENSORS}", content=body, headers={"content-type": media_type})
        assert answer.status_code == 413
        assert "102 rows, the limit is 100" in answer.json()["detail"]


def test_a_table_is_nothing_for_a_model_of_images(api: Api) -> None:
    answer = api.post(f"/v1/score?model={DETECTOR}", content=b"a\n1\n", headers={"content-type": table.CSV})
    assert answer.status_code == 422
    assert "scores images: expected image or inputs, found table" in answer.json()["detail"]
    picture = npy(np.zeros((1, 8, 8), np.float32))
    answer = api.post("/v1/score", json={"model": SENSORS, "image": b64(picture)})
    assert "scores vectors: expected inputs or table, found image" in answer.json()["detail"]


def test_only_rows_may_be_tables(api: Api) -> None:
    answer = api.post("/v1/images/denoise", content=b"a\n1\n", headers={"content-type": table.CSV})
    assert answer.status_code == 415
