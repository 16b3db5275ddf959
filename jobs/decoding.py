"""Rows as their source has them, made into a model's samples by the service's own decoders."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from contract.manifest import Column
from jobs.chunks import Chunk
from jobs.engine import ROW_ERRORS, RowError
from jobs.errors import JobFailed
from jobs.sieve import sieve
from jobs.sources.arrays import as_sent
from service.api import body
from service.codecs import npy, table
from service.codecs.columns import columns_of
from service.errors import BadRequest, Invalid
from service.model import LoadedModel
from service.settings import Settings
from service.tasks.samples import as_images, check_range, expected
from service.tasks.tokens import tokenize

Samples = np.ndarray | list[np.ndarray]
"""Images (N, C, H, W), vectors (N, D), or the token ids (T,) of each text."""


@dataclass(frozen=True)
class Decoder:
    """How rows become samples of a model. `bounded` asks for values in the model's range, as a score does."""

    model: LoadedModel
    settings: Settings
    bounded: bool = False

    def __call__(self, chunk: Chunk) -> Iterator[tuple[np.ndarray, Samples | RowError]]:
        """The samples of rows, by their places in the chunk, or why one has none. Rows come together where it is faster."""
        kind, items = self.model.manifest.data.kind, chunk.items
        everything = np.arange(len(chunk))
        if isinstance(items, np.ndarray):
            read = self._vectors if kind == "vector" else self._images
            yield from sieve(everything, lambda at: read(items[at]))
        elif isinstance(items, pa.Table) and kind == "vector":
            known = columns_of(self.model.manifest.data)
            attempt, suspects = _rows_of(items, known, chunk.written_out), _suspects_of(items, known)
            yield from sieve(everything, attempt, suspects)
        else:
            one: Callable[[Any], Samples] = self._text if kind == "text" else self._picture
            values = _values(items) if isinstance(items, pa.Table) else items
            for place, value in zip(everything[:, None], values, strict=True):
                try:
                    yield place, one(value)
                except ROW_ERRORS as error:
                    yield place, error

    def _text(self, value: Any) -> list[np.ndarray]:
        if isinstance(value, bytes):
            try:
                value = value.decode("utf-8")
            except UnicodeDecodeError as error:
                raise BadRequest(f"expected a text in UTF-8, found {value[:20]!r}") from error
        if not isinstance(value, str):
            raise Invalid(f"expected a text, found {value!r:.80}")
        return tokenize(self.model, [value], self.settings.max_text_characters)

    def _picture(self, value: Any) -> np.ndarray:
        blob = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(blob, bytes):
            raise Invalid(f"expected the bytes of a picture, found {blob!r:.80}")
        image = body.images([body.File(blob, "", "image")], self.model.manifest.data, self.settings)
        if len(image) != 1:
            raise Invalid(f"expected one image, found {len(image)}")
        return self._within(image)

    def _images(self, array: np.ndarray) -> np.ndarray:
        values = npy.decode(as_sent(array), array.size)
        try:
            images = as_images(values, self.model.manifest.data, "--input")
        except Invalid as error:
            raise JobFailed(error.detail) from error
        if len(images) != len(array):
            raise JobFailed(f"--input: expected images (N, C, H, W), found an array {list(array.shape)}")
        return self._within(images)

    def _vectors(self, array: np.ndarray) -> np.ndarray:
        data = self.model.manifest.data
        if array.ndim != 2 or array.shape[1] != data.shape[0]:
            raise JobFailed(f"--input: expected an array N × {expected(data)}, found {list(array.shape)}")
        return self._within(npy.decode(as_sent(array), array.size))

    def _within(self, batch: np.ndarray) -> np.ndarray:
        if self.bounded:
            check_range(batch, self.model.manifest.data, "input")
        return batch


def _rows_of(items: pa.Table, known: Sequence[Column], written_out: bool) -> Callable[[np.ndarray], np.ndarray]:
    """Encodes rows of a table (n, D). A row that is alone is not called row 0 in its error."""

    def encode(at: np.ndarray) -> np.ndarray:
        rows = items if len(at) == len(items) else items.take(at)
        try:
            return table.encode(rows, known, as_text=written_out, field="input")
        except Invalid as error:
            raise Invalid(error.detail.removeprefix("input: row 0, "), field=error.field) from error

    return encode


def _suspects_of(items: pa.Table, known: Sequence[Column]) -> Callable[[np.ndarray], np.ndarray]:
    """Says which rows have an infinity, or no value where there must be one: all that numbers can have wrong."""

    def suspects(at: np.ndarray) -> np.ndarray:
        found = np.zeros(len(at), bool)
        for column in known:
            given = items.column(column.name)
            missing = given.is_null().to_numpy() if not column.may_be_missing else np.zeros(len(given), bool)
            if pa.types.is_floating(given.type):
                values = given.to_numpy()
                missing = missing | (np.isinf(values) if column.may_be_missing else ~np.isfinite(values))
            found |= missing[at]
        return found

    return suspects


def _values(items: pa.Table) -> list[Any]:
    (column,) = items.columns
    return column.to_pylist()
