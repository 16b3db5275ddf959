"""Rows become vectors by the columns' names, and what cannot is refused by row, column and value."""

from typing import Any

import numpy as np
import pytest

from contract.manifest import Column, Data
from service.codecs.columns import columns_of, from_objects, values
from service.errors import Invalid

PRESSURE = Column(name="pressure")
FLOW = Column(name="flow", may_be_missing=True, fill=0.5)
VALVE = Column(name="valve", kind="category", categories=("open", "shut"))
ALARM = Column(name="alarm", kind="category", categories=("false", "true"), may_be_missing=True)
COLUMNS = (PRESSURE, FLOW, VALVE, ALARM)
ROW = {"pressure": 2.5, "flow": 3, "valve": "shut", "alarm": "true"}


def read(*rows: Any) -> np.ndarray:
    return from_objects(rows, COLUMNS, "inputs")


def test_numbers_stay_categories_are_marked_and_what_is_missing_is_said() -> None:
    x = read(ROW, {"pressure": -1, "flow": None, "valve": "open", "alarm": None})
    assert x.dtype == np.float32
    assert x.tolist() == [[2.5, 3, 0, 0, 1, 0, 1], [-1, 0.5, 1, 1, 0, 0, 0]]


def test_what_was_encoded_is_told_in_the_columns_own_words() -> None:
    missing = {"pressure": -1.0, "flow": None, "valve": "open", "alarm": None}
    assert values(read(ROW, missing), COLUMNS) == {name: [ROW[name], missing[name]] for name in ROW}


def test_of_what_was_drawn_the_likeliest_category_counts() -> None:
    drawn = np.array([[0.1, 7, 0.4, 0.3, 0.2, 0.2, 0.4], [0.1, 7, 0.6, -1, 2, 0.1, 0.6]], np.float32)
    found = values(drawn, COLUMNS)
    assert [found[name] for name in ("flow", "valve", "alarm")] == [[7, None], ["open", "shut"], [None, "true"]]


def test_objects_in_any_order_and_lists_in_the_columns_order_are_the_same() -> None:
    turned = dict(reversed(ROW.items()))
    assert np.array_equal(read(ROW, turned), read(list(ROW.values()), list(ROW.values())))


NUMBERS = tuple(Column(name=name) for name in ("a", "b", "c"))


def test_rows_of_nothing_but_numbers_are_what_each_value_is() -> None:
    rows = np.random.default_rng(1).normal(size=(50, 3)).round(4).tolist()
    objects = [{"c": c, "a": a, "b": b} for a, b, c in rows]
    expected = np.array(rows, np.float32)
    assert np.array_equal(from_objects(rows, NUMBERS, "inputs"), expected)
    assert np.array_equal(from_objects(objects, NUMBERS, "inputs"), expected)
    assert from_objects([[1, 2**70, 0.5]], NUMBERS, "inputs").tolist() == [[1, 2**70, 0.5]]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ([1, True, 2], "row 1, column 'b': expected a number, found True"),
        ([1, 2, "3"], "row 1, column 'c': expected a number, found '3'"),
        ([1, None, 2], "row 1, column 'b': expected a value"),
        ([1, 2, 10**400], "row 1, column 'c': expected a number, found 1000"),
        ([1, 2, 1e300], "row 1, column 'c': expected a finite number within float32"),
        ([1, 2], "row 1: expected a list of 3 values"),
        (7, "row 1: expected a list of 3 values"),
        ({"a": 1, "b": 2, "c": 3}, "row 1: expected a list of 3 values"),
    ],
)
def test_among_rows_of_numbers_any_other_value_is_refused(row: Any, says: str) -> None:
    with pytest.raises(Invalid) as error:
        from_objects([[1, 2, 3.5], row], NUMBERS, "inputs")
    assert says in error.value.detail


def test_an_object_of_as_many_other_columns_is_refused() -> None:
    with pytest.raises(Invalid, match=r"row 1: .* no column 'b', unknown column 'd'"):
        from_objects([{"a": 1, "b": 2, "c": 3}, {"a": 1, "d": 2, "c": 3}], NUMBERS, "inputs")


def test_a_category_may_be_a_bool_or_an_int_of_its_name() -> None:
    digits = Column(name="k", kind="category", categories=("1", "2"))
    assert read({**ROW, "alarm": True}).tolist() == read(ROW).tolist()
    assert from_objects([[2], ["1"]], (digits,), "inputs").tolist() == [[0, 1], [1, 0]]


def test_a_column_of_many_rows_is_each_row_alone() -> None:
    rng = np.random.default_rng(0)
    rows = [
        {"pressure": p, "flow": f if f > 0 else None, "valve": v, "alarm": None}
        for p, f, v in zip(
            rng.normal(size=200).tolist(), rng.normal(size=200).tolist(), rng.choice(["open", "shut"], 200), strict=True
        )
    ]
    rows = [{**row, "valve": str(row["valve"])} for row in rows]
    assert np.array_equal(read(*rows), np.concatenate([read(row) for row in rows]))


def test_a_vector_without_columns_has_its_names_or_numbers() -> None:
    named = Data(kind="vector", dataset="d", shape=(2,), column_names=("a", "b"))
    assert [c.name for c in columns_of(named)] == ["a", "b"]
    assert [c.name for c in columns_of(Data(kind="vector", dataset="d", shape=(2,)))] == ["x0", "x1"]


REFUSED = {
    "a text for a number": ({"pressure": "high"}, "row 1, column 'pressure': expected a number, found 'high'"),
    "a bool for a number": ({"pressure": True}, "row 1, column 'pressure': expected a number, found True"),
    "a list for a number": ({"flow": [1]}, "row 1, column 'flow': expected a number, found [1]"),
    "no number": ({"pressure": None}, "row 1, column 'pressure': expected a value, for none was missing in training"),
    "NaN": ({"pressure": float("nan")}, "row 1, column 'pressure': expected a value"),
    "infinity": ({"flow": float("inf")}, "row 1, column 'flow': expected a finite number within float32, found inf"),
    "too large a float": ({"pressure": -1e300}, "row 1, column 'pressure': expected a finite number"),
    "too large an int": ({"pressure": 10**400}, "row 1, column 'pressure': expected a number"),
    "an unknown category": ({"valve": "ajar"}, "row 1, column 'valve': expected one of 'open', 'shut', found 'ajar'"),
    "a number for a category": ({"valve": 1.5}, "row 1, column 'valve': expected one of 'open', 'shut', found 1.5"),
    "a list for a category": ({"valve": ["open"]}, "row 1, column 'valve': expected one of"),
    "no category": ({"valve": None}, "row 1, column 'valve': expected a value, for none was missing in training"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_value_is_refused_by_row_and_column(case: str) -> None:
    changes, message = REFUSED[case]
    with pytest.raises(Invalid) as error:
        read(ROW, {**ROW, **changes}, ROW)
    assert message in error.value.detail
    assert error.value.field == "inputs"


def test_columns_that_lack_or_are_not_there_are_named() -> None:
    wrong = {"presure": 1, **{name: value for name, value in ROW.items() if name != "pressure"}}
    with pytest.raises(
        Invalid, match=r"row 1: expected the columns 'pressure', .* no column 'pressure', unknown column 'presure'"
    ):
        read(ROW, wrong)


def test_a_row_of_another_kind_or_length_is_named() -> None:
    with pytest.raises(Invalid, match=r"row 1: expected an object as the first row is, found \[1\]"):
        read(ROW, [1])
    with pytest.raises(Invalid, match=r"row 1: expected a list of 4 values .* found 2 values"):
        read([1, 2, "open", None], [1, 2])
    with pytest.raises(Invalid, match=r"row 0: expected a list of 4 values .* found 3"):
        read(3)


def test_a_message_does_not_list_a_thousand_categories() -> None:
    many = Column(name="k", kind="category", categories=tuple(f"c{i}" for i in range(1000)))
    with pytest.raises(Invalid) as error:
        from_objects([["no"]], (many,), "inputs")
    assert "and 990 more" in error.value.detail
    assert len(error.value.detail) < 300
