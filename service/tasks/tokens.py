"""Text to token ids, with what the tokenizer does not know refused rather than replaced."""

import numpy as np

from service.errors import Invalid
from service.model import LoadedModel


def encode(model: LoadedModel, text: str, field: str) -> np.ndarray:
    """Token ids (T,) int64. Raises Invalid, naming the first character that the model has never seen."""
    assert model.manifest.text is not None, "the contract asks for it"
    assert model.tokenizer is not None, "the contract asks for it"
    encoding = model.tokenizer.encode(text, add_special_tokens=False)
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
