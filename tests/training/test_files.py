"""A file of normal rows is learnt from as the columns that it has, and served through the same encoding."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from contract.manifest import Column
from service.codecs import table as codec
from training.data import load
from training.data.source import DataError
from training.recipe import DataConfig

HEAD = "pressure,flow,valve,alarm,batch\n"


@pytest.fixture
def plant(tmp_path):
    """Fifty rows; flow is missing in some, the valve in one, and batches are numbers."""
    rng = np.random.default_rng(0)
    lines = [
        f"{rng.normal():.3f},{'' if i % 10 == 0 else i},{'NA' if i == 7 else ('open', 'shut')[i % 2]},{i % 3 == 0},{i % 4}\n"
        for i in range(50)
    ]
    path = tmp_path / "plant.csv"
    path.write_text(HEAD + "".join(lines))
    return path


def config(path, **changes) -> DataConfig:
    return DataConfig(dataset="table", path=str(path), **changes)


def test_columns_are_found_in_the_file(plant):
    dataset = load(config(plant, categories=("batch",)), None)
    assert dataset.name == "plant.csv"
    assert dataset.summary.columns == (
        Column(name="pressure"),
        Column(name="flow", may_be_missing=True, fill=25.0),
        Column(name="valve", kind="category", categories=("open", "shut"), may_be_missing=True),
        Column(name="alarm", kind="category", categories=("False", "True")),
        Column(name="batch", kind="category", categories=("0", "1", "2", "3")),
    )
    assert dataset.summary.shape == (1 + 2 + 2 + 2 + 4,)
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.calibration)] == [40, 5, 5]


def test_what_is_trained_on_is_what_would_be_served(plant):
    dataset = load(config(plant, shuffled=False, ignore=("batch",)), None)
    rows = "".join(line.rpartition(",")[0] + "\n" for line in plant.read_text().splitlines())
    served = codec.decode(rows.encode(), codec.CSV, dataset.summary.columns, 100, 10**6)
    trained = torch.cat([part.values for part in (dataset.train, dataset.validation, dataset.calibration)])
    assert np.array_equal(served, trained.numpy())


def test_rows_are_shuffled_alike_every_time_and_none_is_lost(plant):
    first, again = (load(config(plant, ignore=("batch",)), None).train.values for _ in range(2))
    assert torch.equal(first, again)
    in_order = load(config(plant, ignore=("batch",), shuffled=False), None)
    assert not torch.equal(first, in_order.train.values)
    assert set(map(tuple, first.tolist())) <= {
        tuple(row)
        for part in (in_order.train, in_order.validation, in_order.calibration)
        for row in part.values.tolist()
    }


def test_parquet_has_types_of_its_own(tmp_path):
    path = tmp_path / "plant.parquet"
    some = pa.table({"n": [1, None] * 15, "b": [True, False] * 15, "s": pa.array(["u", "v"] * 15).dictionary_encode()})
    parquet.write_table(some, path)
    assert load(config(path), None).summary.columns == (
        Column(name="n", may_be_missing=True, fill=1.0),
        Column(name="b", kind="category", categories=("false", "true")),
        Column(name="s", kind="category", categories=("u", "v")),
    )


def test_a_file_may_lie_in_the_data_root(plant):
    assert len(load(config("plant.csv"), plant.parent).train) == 40


REFUSED = {
    "no rows": (HEAD, "expected at least one row"),
    "names": (HEAD + "".join(f"1,2,open,0,batch {i}\n" for i in range(200)), "100 categories in column 'batch', found 200: leave it out"),
    "few rows": (HEAD + "1,2,open,0,1\n" * 5, "expected 20 rows at least, found 5"),
    "no values": (HEAD + "1,,open,0,1\n" * 30, "column 'flow' has no values: leave it out"),
    "an infinity": (HEAD + "1,2,open,0,1\n" * 30 + "inf,2,open,0,1\n", "row 30, column 'pressure': expected a finite number"),
    "no table": ("a,b\n1\n", "expected text/csv"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_learnt_from_is_refused_with_the_remedy(case, tmp_path):
    text, message = REFUSED[case]
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=r"data\.path: ") as error:
        load(config(path), None)
    assert message in str(error.value)


def test_a_file_that_is_not_there_and_a_column_that_is_not_in_it(plant, tmp_path):
    with pytest.raises(DataError, match=r"data\.path: expected a CSV or Parquet file .* give --data\.path"):
        load(DataConfig(dataset="table"), None)
    with pytest.raises(DataError, match=r"expected a file \.csv, \.parquet, \.arrow, found none at .*other\.csv"):
        load(config(tmp_path / "other.csv"), None)
    with pytest.raises(DataError, match=r"data\.ignore, data\.categories: .* found speed"):
        load(config(plant, ignore=("speed",)), None)
