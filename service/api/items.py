"""What a request sends to be scored or embedded: texts, images, vectors or rows, whichever the model takes."""

from typing import Any

import numpy as np

from service.api import body
from service.api.held import Hold
from service.codecs import apart, columns, table
from service.errors import Invalid, TooLarge
from service.model import LoadedModel
from service.schemas import ItemsBody
from service.settings import Settings
from service.tasks import samples
from service.tasks.tokens import tokenize

Items = np.ndarray | list[np.ndarray]
"""Samples (N, …), or the token ids of each text."""

_PARQUET = apart.Reader()
_FIELDS = {"image": ("image", "inputs"), "vector": ("inputs", "table"), "text": ("input",)}


def kind_of(ask: object) -> str | None:
    """The kind of data that a request cannot but mean: text; numbers and pictures may mean several."""
    return "text" if isinstance(ask, ItemsBody) and ask.input is not None else None


def read(model: LoadedModel, ask: object, files: list[body.File], settings: Settings, verb: str, hold: Hold) -> Items:
    """The request's items, checked against the model; `verb` says what it does with them, for people.

    Raises Invalid, BadRequest or TooLarge, naming the field, and Overloaded.
    """
    data = model.manifest.data
    text = ask.input if isinstance(ask, ItemsBody) else None
    inputs = ask.inputs if isinstance(ask, ItemsBody) else None
    tables = [file for file in files if file.media_type in table.MEDIA_TYPES]
    fields = {"image": files and not tables, "table": tables, "inputs": inputs is not None, "input": text is not None}
    given = [name for name, there in fields.items() if there]
    wanted = _FIELDS[data.kind]
    if len(given) != 1 or given[0] not in wanted:
        found = " and ".join(given) or "none"
        raise Invalid(
            f"body: model {model.id} {verb} {data.kind}s: expected {' or '.join(wanted)}, found {found}",
            field=wanted[0],
        )
    if text is not None:
        rows = tokenize(model, [text] if isinstance(text, str) else text, settings.max_text_characters)
        _limit(len(rows), settings.max_rows, "input")
        return rows
    if tables:
        rows_of, known = tables[0], columns.columns_of(data)
        limits = (settings.max_rows, settings.max_body_bytes)
        if rows_of.media_type == table.PARQUET:
            return _PARQUET.decode(rows_of.blob, known, *limits)
        return table.decode(rows_of.blob, rows_of.media_type, known, *limits)
    if data.kind == "vector" and (data.columns or _holds_rows(inputs)):
        return _rows(inputs, model, settings)
    batch = body.images(files, data, settings, hold) if files else _numbers(inputs, model)
    _limit(len(batch), settings.max_rows, "inputs")
    samples.check_range(batch, data, given[0])
    return batch


def _holds_rows(inputs: Any) -> bool:
    """Whether they are rows by the names of their columns."""
    return isinstance(inputs, dict) or (isinstance(inputs, list) and bool(inputs) and isinstance(inputs[0], dict))


def _rows(inputs: Any, model: LoadedModel, settings: Settings) -> np.ndarray:
    """Objects or lists of numbers, texts and nulls, one or many, as a batch of samples."""
    known = columns.columns_of(model.manifest.data)
    rows = inputs.tolist() if isinstance(inputs, np.ndarray) else inputs
    one = isinstance(rows, dict) or (isinstance(rows, list) and bool(rows) and not isinstance(rows[0], dict | list))
    rows = [rows] if one else rows
    if not isinstance(rows, list):
        raise Invalid(f"inputs: expected rows as objects or lists, found {rows!r:.80}", field="inputs")
    _limit(len(rows), settings.max_rows, "inputs")
    return columns.from_objects(rows, known, "inputs")


def _numbers(inputs: Any, model: LoadedModel) -> np.ndarray:
    """Nested lists of numbers as a batch of samples."""
    data = model.manifest.data
    try:
        # As objects first: of texts, NumPy makes an array in which each takes as much room as the longest.
        given = inputs if isinstance(inputs, np.ndarray) else np.array(inputs, object)
        if given.dtype == object:
            given = given.astype(np.float64) if {type(x) for x in given.ravel()} <= {int, float} else np.array(None)
    except (ValueError, OverflowError):  # rows of several lengths; an integer that no float holds
        given = np.array(None)
    if given.dtype.kind != "f":
        raise Invalid("inputs: expected lists of numbers of one length, found something else", field="inputs")
    with np.errstate(over="ignore"):
        array = given.astype(np.float32)
    if not np.isfinite(array).all():
        raise Invalid("inputs: expected finite numbers, found NaN, infinity or one too large", field="inputs")
    if data.kind == "image":
        return samples.as_images(array, data, "inputs")
    width = data.shape[0]
    if array.ndim == 1 and array.shape == (width,):
        array = array[None]
    if array.ndim != 2 or array.shape[1] != width or not len(array):
        raise Invalid(f"inputs: expected rows of {width} numbers, found an array {list(array.shape)}", field="inputs")
    return array


def bytes_of(items: Items) -> int:
    """What they take in memory."""
    return sum(ids.nbytes for ids in items) if isinstance(items, list) else items.nbytes


def _limit(count: int, limit: int, field: str) -> None:
    if count > limit:
        raise TooLarge(f"{field}: {count} items, the limit is {limit}: send fewer at once", field=field)
    if count == 0:
        raise Invalid(f"{field}: expected at least one item, found none", field=field)
