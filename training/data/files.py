"""A table of one's own: a CSV or Parquet file of normal rows, as vectors and as the columns that say how they became them.

Rows are encoded by `service.codecs.table`, the code that a request's rows go through, so that both become the same vector.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from contract.manifest import Column
from service.codecs import table as codec
from service.errors import AmostraError
from training.data.source import DataError, keyed
from training.recipe import DataConfig

MEDIA_TYPES = {".csv": codec.CSV, ".parquet": codec.PARQUET, ".arrow": codec.ARROW_FILE}
MAX_CATEGORIES = 100
MIN_ROWS = 20
_UNBOUNDED = 2**62


def from_file(config: DataConfig, root: Path | None) -> tuple[str, Tensor, tuple[Column, ...]]:
    """A file's name, its rows as vectors (N, D) float32, and its columns.

    Raises DataError where it cannot be read, naming the column and the remedy.
    """
    path = _found(config.path, root)
    media_type = MEDIA_TYPES[path.suffix.lower()]
    try:
        table = codec.read(path.read_bytes(), media_type, None, _UNBOUNDED, _UNBOUNDED, path.name)
        unknown = [name for name in (*config.ignore, *config.categories) if name not in table.column_names]
        if unknown:
            raise DataError(
                f"data.ignore, data.categories: expected columns of {path.name}, {', '.join(table.column_names)}; "
                f"found {', '.join(unknown)}"
            )
        table = table.drop_columns(list(config.ignore))
        as_text = media_type == codec.CSV
        columns = tuple(_column(name, table.column(name), config.categories, as_text) for name in table.column_names)
        x = torch.from_numpy(codec.encode(table, columns, as_text=as_text, field=path.name))
    except AmostraError as error:
        raise DataError(f"data.path: {error.detail}") from error
    if len(x) < MIN_ROWS or not columns:
        raise DataError(f"data.path: expected {MIN_ROWS} rows at least, found {len(x)} of {len(columns)} columns")
    if config.shuffled:
        x = x[torch.randperm(len(x), generator=keyed(len(x)))]
    return path.name, x, columns


def _found(name: str | None, root: Path | None) -> Path:
    if name is None:
        raise DataError("data.path: expected a CSV or Parquet file of normal rows, found none: give --data.path")
    places = [Path(name), *([root / name] if root else [])]
    path = next((place for place in places if place.is_file()), None)
    if path is None or path.suffix.lower() not in MEDIA_TYPES:
        looked = " or ".join(map(str, places))
        raise DataError(f"data.path: expected a file {', '.join(MEDIA_TYPES)}, found none at {looked}")
    return path


def _column(name: str, given: Any, categories: Sequence[str], as_text: bool) -> Column:
    """What a column is, by the values that it has."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = given.type.value_type if pa.types.is_dictionary(given.type) else given.type
    texts = as_text or pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if name not in categories and not pa.types.is_boolean(kind) and (not texts or (as_text and _are_numbers(given))):
        values = codec.numbers(given.combine_chunks(), Column(name=name), as_text, name)
        missing = values != values
        if missing.all():
            raise DataError(f"data.path: column {name!r} has no values: leave it out with data.ignore")
        median = float(torch.from_numpy(values[~missing]).median())
        return Column(name=name, may_be_missing=bool(missing.any()), fill=median if missing.any() else 0.0)
    found = pc.unique(codec.texts(given.combine_chunks()))
    nothing = codec.MISSING if as_text else ("",)
    names = sorted(value for value in found.to_pylist() if value is not None and value not in nothing)
    if not 0 < len(names) <= MAX_CATEGORIES:
        raise DataError(
            f"data.path: expected 1 to {MAX_CATEGORIES} categories in column {name!r}, found {len(names)}: leave it out "
            "with data.ignore"
        )
    return Column(name=name, kind="category", categories=tuple(names), may_be_missing=len(names) < len(found))


def _are_numbers(given: Any) -> bool:
    """Whether all texts that stand for a value are numbers."""
    try:
        codec.numbers(given.combine_chunks(), Column(name="column"), True, "data.path")
    except AmostraError:
        return False
    return True
