"""Text to token ids, with what the tokenizer does not know refused rather than replaced, and ids to padded rows."""

from collections.abc import Sequence

import numpy as np

from service.engine.job import Arrays
from service.errors import Invalid
from service.model import LoadedModel


def encode(model: LoadedModel, text: str, field: str) -> np.ndarray:
    """Token ids (T,) int64. Raises Invalid, naming the first character that the model has never seen."""
    assert model.manifest.text is not None, "the contract asks for it"
    assert model.tokenizer is not None, "the contract asks for it"
    # As a batch, because only then other threads may run meanwhile.
    (encoding,) = model.tokenizer.encode_batch([text], add_special_tokens=False)
    ids = np.array(encoding.ids, np.int64)
    strange = ids >= model.manifest.text.vocabulary
    if model.unknown_token is not None:
        strange |= ids == model.unknown_token
    if strange.any():
        start, stop = encoding.offsets[int(np.argmax(strange))]
        raise Invalid(
            f"{field}: {text[start:stop]!r} at position {start} is not in the vocabulary of model {model.id}: remove it",
            field=field,
        )
    if text and not len(ids):
        raise Invalid(f"{field}: no token of model {model.id} can be made of {text[:20]!r}", field=field)
    return ids


def tokenize(model: LoadedModel, texts: Sequence[str], max_characters: int) -> list[np.ndarray]:
    """Token ids of texts. Raises Invalid for one that is empty, too long, or has a character that is unknown."""
    rows = []
    for i, text in enumerate(texts):
        field = text_field(i, len(texts))
        if not text:
            raise Invalid(f"{field}: expected at least one character, found an empty text", field=field)
        if len(text) > max_characters:
            raise Invalid(f"{field}: {len(text)} characters, the limit is {max_characters}: send parts", field=field)
        rows.append(encode(model, text, field))
    return rows


def text_field(index: int, count: int) -> str:
    """How a request calls one of its texts."""
    return "input" if count == 1 else f"input[{index}]"


def width_of(length: int, context: int) -> int:
    """Rows are padded to few widths, so that texts can share batches: an eighth of the context, doubled as needed."""
    width = max(1, context // 8)
    while width < length:
        width *= 2
    return min(width, context)


def pad(rows: Sequence[np.ndarray], width: int) -> Arrays:
    """Rows of ids as input_ids (B, width) and lengths (B,), int64."""
    input_ids = np.zeros((len(rows), width), np.int64)
    for padded, row in zip(input_ids, rows, strict=True):
        padded[: len(row)] = row
    return {"input_ids": input_ids, "lengths": np.array([len(row) for row in rows], np.int64)}
