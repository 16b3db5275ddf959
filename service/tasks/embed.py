"""Embed: the vector that a model's encoder makes of an image, a row of a table or a text."""

from collections.abc import Sequence

import numpy as np

from contract import Capability
from service.engine.job import Job, RowCall
from service.errors import Invalid, ModelFailed
from service.model import LoadedModel
from service.tasks.tokens import pad, text_field, width_of


def check_dimensions(model: LoadedModel, dimensions: int | None) -> None:
    """Refuse a length that is not the embedding's own. Raises Invalid."""
    (size,) = (t.shape[-1] for t in model.manifest.capabilities[Capability.ENCODE].outputs if t.name == "embedding")
    if dimensions not in (None, size):
        raise Invalid(
            f"dimensions: embeddings of model {model.id} have {size} numbers, found {dimensions}: leave it out",
            field="dimensions",
        )


def check_lengths(model: LoadedModel, rows: Sequence[np.ndarray]) -> None:
    """Refuse texts, given as token ids, that do not fit into the model's context. Raises Invalid."""
    room = model.manifest.context - 1
    for i, ids in enumerate(rows):
        if len(ids) > room:
            field = text_field(i, len(rows))
            raise Invalid(f"{field}: {len(ids)} tokens, model {model.id} takes {room}: send parts", field=field)


def embed_samples(model: LoadedModel, samples: np.ndarray) -> Job:
    """Embed images (N, C, H, W) or vectors (N, D). Returns (N, E) float32."""
    outputs = yield RowCall(Capability.ENCODE, {"x": samples})
    return _sound(model, outputs["embedding"])


def embed_texts(model: LoadedModel, rows: Sequence[np.ndarray]) -> Job:
    """Embed texts given as token ids. Returns (N, E) float32."""
    text = model.manifest.text
    assert text is not None, "the contract asks for it"
    by_width: dict[int, list[int]] = {}
    for i, ids in enumerate(rows):
        by_width.setdefault(width_of(len(ids) + 1, text.context), []).append(i)
    found: dict[int, np.ndarray] = {}
    for width, places in by_width.items():
        sequences = [np.concatenate([text.start, rows[i]]) for i in places]
        outputs = yield RowCall(Capability.ENCODE, pad(sequences, width))
        found |= zip(places, outputs["embedding"], strict=True)
    return _sound(model, np.stack([found[i] for i in range(len(rows))]))


def _sound(model: LoadedModel, embeddings: np.ndarray) -> np.ndarray:
    if not np.isfinite(embeddings).all():
        bad = np.flatnonzero(~np.isfinite(embeddings).all(axis=-1))[0]
        raise ModelFailed(f"model {model.id} returned numbers that are none for item {bad}")
    return embeddings
