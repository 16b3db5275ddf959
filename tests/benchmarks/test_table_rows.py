"""What is sent is what is scored."""

import io
import json

import numpy as np
import pyarrow as pa

from benchmarks.table_rows import COLUMNS, arrow, as_json, rows
from contract.manifest import Column
from service.codecs.columns import from_objects
from service.codecs.table import decode


def test_both_bodies_are_the_rows() -> None:
    x = rows(50, 0)
    columns = tuple(Column(name=f"x{i}") for i in range(COLUMNS))
    assert np.array_equal(decode(arrow("m", x).body, "application/vnd.apache.arrow.stream", columns, 50, 10**6), x)
    sent = json.loads(as_json("m", x).body)["inputs"]
    assert np.abs(from_objects(sent, columns, "inputs") - x).max() < 6e-5
    assert pa.ipc.open_stream(io.BytesIO(arrow("m", x).body)).schema.names == [c.name for c in columns]


def test_columns_of_few_unseen_ones_are_nearly_of_that_rank() -> None:
    assert rows(5, 1).tolist() == rows(5, 1).tolist() != rows(5, 2).tolist()
    values = np.linalg.svd(np.arctanh(np.clip(rows(4000, 1, 3), -0.9, 0.9)), compute_uv=False)
    assert values[2] > 2 * values[3]
    independent = np.linalg.svd(rows(4000, 1), compute_uv=False)
    assert independent[0] < 1.3 * independent[-1]
