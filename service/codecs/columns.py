"""Rows of a table as vectors: the one encoding of numbers, categories and missing values, for training and for serving.

    Column("number")                   1.5 -> [1.5]         missing, where it may be: [fill, 1] instead of [1.5, 0]
    Column("category", ("a", "b"))     "b" -> [0, 1]        missing, where it may be: [0, 0]

NaN, null and an empty text are missing values; rows are counted from 0, as in the answer's `index`.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np

from contract.manifest import Column, Data
from service.errors import Invalid

_NUMBERS: set[type] = {int, float, type(None)}
_CATEGORIES: set[type] = {str, int, bool, type(None)}
_MAX_BITS = 1023  # of an int that a float can hold
_NAMED = 10
"""Names and categories that a message lists at most."""


def columns_of(data: Data) -> tuple[Column, ...]:
    """The columns of a model's rows; of vectors that come as they are, numbers by their names or x0, x1, …"""
    if data.columns:
        return data.columns
    names = data.column_names or tuple(f"x{i}" for i in range(data.shape[0] or 0))
    return tuple(Column(name=name) for name in names)


def from_objects(rows: Sequence[Any], columns: Sequence[Column], field: str) -> np.ndarray:
    """Rows as JSON has them, all objects by column name or all lists in the columns' order, as vectors (N, D) float32.

    Raises Invalid, naming row, column and value.
    """
    names = [column.name for column in columns]
    plain = _plain_numbers(rows, columns)
    if plain is not None:
        x = dense(plain, columns)
        return vectors(dict(zip(names, plain.T, strict=True)), columns, len(rows), field) if x is None else x
    if isinstance(rows[0], dict):
        wanted = set(names)
        for i, row in enumerate(rows):
            if not isinstance(row, dict):
                raise Invalid(
                    f"{field}: row {i}: expected an object as the first row is, found {row!r:.80}", field=field
                )
            if row.keys() != wanted:
                check_names(list(row), names, f"{field}: row {i}", field)
        values: Iterable[Sequence[Any]] = ([row[name] for row in rows] for name in names)
    else:
        for i, row in enumerate(rows):
            if not isinstance(row, list) or len(row) != len(names):
                found = f"{len(row)} values" if isinstance(row, list) else f"{row!r:.80}"
                raise Invalid(
                    f"{field}: row {i}: expected a list of {len(names)} values ({listed(names)}), found {found}",
                    field=field,
                )
        values = zip(*rows, strict=True)
    read = (
        (numbers if column.kind == "number" else codes)(part, column, field)
        for column, part in zip(columns, values, strict=True)
    )
    return vectors(dict(zip(names, read, strict=True)), columns, len(rows), field)


def _plain_numbers(rows: Sequence[Any], columns: Sequence[Column]) -> np.ndarray | None:
    """Rows that have all columns and nothing but numbers, as most do, (N, K) float64, in a third of the time; else None."""
    if len(columns) < 2 or any(column.kind != "number" for column in columns):
        return None
    kinds = set(map(type, rows))
    if kinds not in ({dict}, {list}) or set(map(len, rows)) != {len(columns)}:
        return None
    in_order = itemgetter(*(column.name for column in columns))
    try:
        values = list(chain.from_iterable(map(in_order, rows) if kinds == {dict} else rows))
        return np.array(values, np.float64).reshape(len(rows), -1) if set(map(type, values)) <= {int, float} else None
    except (KeyError, OverflowError):
        return None


def check_names(found: Sequence[str], names: Sequence[str], where: str, field: str) -> None:
    """Refuse rows that lack a column, or have another, or one twice. Raises Invalid, naming them."""
    missing = [name for name in names if name not in set(found)]
    unknown = [name for name in found if name not in set(names)]
    twice = [name for name in dict.fromkeys(found) if found.count(name) > 1] if len(set(found)) < len(found) else []
    wrong = [
        f"{what} {listed(those)}"
        for what, those in (("no column", missing), ("unknown column", unknown), ("twice the column", twice))
        if those
    ]
    if wrong:
        raise Invalid(f"{where}: expected the columns {listed(names)}; found {', '.join(wrong)}", field=field)


def numbers(values: Sequence[Any], column: Column, field: str) -> np.ndarray:
    """JSON's values of a column of numbers (N,) float64, NaN where one is missing. Raises Invalid."""
    try:
        if set(map(type, values)) <= _NUMBERS:
            return np.array(values, np.float64)
    except OverflowError:
        pass
    row = next(i for i, value in enumerate(values) if not _is_number(value))
    raise refused(field, row, column, "expected a number", f"{values[row]!r:.80}")


def _is_number(value: Any) -> bool:
    return type(value) in _NUMBERS and not (type(value) is int and value.bit_length() > _MAX_BITS)


def codes(values: Sequence[Any], column: Column, field: str) -> np.ndarray:
    """JSON's values of a column of categories as their places (N,) int64, -1 where one is missing. Raises Invalid."""
    places: dict[Any, int] = {category: i for i, category in enumerate(column.categories)}
    found = [places.get(value, -1) if type(value) is str else _code(value, places) for value in values]
    for row, (code, value) in enumerate(zip(found, values, strict=True)):
        if code == -1 and value not in (None, ""):
            raise unknown_category(field, row, column, value)
    return np.array(found, np.int64)


def _code(value: Any, places: Mapping[Any, int]) -> int:
    if type(value) not in _CATEGORIES or value is None:
        return -1
    return places.get(str(value).lower() if isinstance(value, bool) else str(value), -1)


def vectors(values: Mapping[str, np.ndarray], columns: Sequence[Column], count: int, field: str) -> np.ndarray:
    """Numbers (N,), NaN where missing, and places of categories (N,), -1 where missing, as vectors (N, D) float32.

    Raises Invalid for an infinity, and for a missing value where none may be.
    """
    x = np.zeros((count, sum(column.width for column in columns)), np.float32)
    at = 0
    for column in columns:
        given = values[column.name]
        missing = np.isnan(given) if column.kind == "number" else given < 0
        any_missing = bool(missing.any())
        if any_missing and not column.may_be_missing:
            row = int(np.argmax(missing))
            raise refused(
                field, row, column, "expected a value, for none was missing in training", "none (null or NaN)"
            )
        if column.kind == "category":
            rows = np.flatnonzero(~missing)
            x[rows, at + given[rows]] = 1
        else:
            with np.errstate(over="ignore"):
                x[:, at] = np.where(missing, column.fill, given) if any_missing else given
            if not np.isfinite(x[:, at]).all():
                row = int(np.argmin(np.isfinite(x[:, at])))
                raise refused(field, row, column, "expected a finite number within float32", f"{given[row]:g}")
            if column.may_be_missing:
                x[:, at + 1] = missing
        at += column.width
    return x


def dense(values: np.ndarray, columns: Sequence[Column]) -> np.ndarray | None:
    """Numbers (N, K) of all columns as vectors (N, D) float32 at once, as `vectors` would make them one by one; None where
    one is missing or not finite, or where a column takes more than its number."""
    if any(column.kind != "number" or column.may_be_missing for column in columns):
        return None
    with np.errstate(over="ignore"):
        x = values.astype(np.float32)
    return x if np.isfinite(x).all() else None


def values(x: np.ndarray, columns: Sequence[Column]) -> dict[str, list[Any]]:
    """What `vectors` encodes, of vectors (N, D) that a model drew: for each column its values, None where one is missing.

    A category is the likeliest one; it is missing, where it may be, if none has a half. Numbers are NumPy's float32.
    """
    found: dict[str, list[Any]] = {}
    at = 0
    for column in columns:
        part = x[:, at : at + column.width]  # (N, width)
        if column.kind == "category":
            named: Sequence[Any] = [column.categories[k] for k in part.argmax(1)]
            missing = part.max(1) < 0.5
        else:
            named = list(part[:, 0])
            missing = part[:, -1] >= 0.5
        if column.may_be_missing:
            named = [None if none else value for value, none in zip(named, missing, strict=True)]
        found[column.name] = list(named)
        at += column.width
    return found


def unknown_category(field: str, row: int, column: Column, value: Any) -> Invalid:
    """The error of a category that was not in training."""
    return refused(field, row, column, f"expected one of {listed(column.categories)}", f"{value!r:.80}")


def refused(field: str, row: int, column: Column, expected: str, found: str) -> Invalid:
    """The error of one value."""
    return Invalid(f"{field}: row {row}, column {column.name!r:.80}: {expected}, found {found}", field=field)


def listed(names: Sequence[str]) -> str:
    """Names for people, the first few of many."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(repr(name)[:80] for name in names[:_NAMED]) + more
