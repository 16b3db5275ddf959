"""Route of embeddings, in OpenAI's shape, for whatever a model encodes."""

import base64
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from service.api import answer, asked, body, items
from service.api.aside import aside
from service.api.held import hold_of
from service.api.results import results
from service.api.state import state_of
from service.codecs import npy, table
from service.engine.job import Job
from service.model import LoadedModel
from service.schemas import EmbedBody, EmbedFields
from service.tasks import embed as embedding

OFFERS = (answer.JSON, npy.MEDIA_TYPE)
_INLINE_NUMBERS = 4096


async def embed(request: Request) -> Response:
    """Embed images, vectors or text."""
    state = state_of(request)
    ask, files = await body.read_files(request, EmbedBody, EmbedFields, state.settings, raw=table.MEDIA_TYPES)
    kind = answer.choose(request, OFFERS)
    model = await asked.model(request, state, ask.model, "embed", items.kind_of(ask))
    embedding.check_dimensions(model, ask.dimensions)
    much = body.is_much(request, files)
    hold = hold_of(request)
    given = await aside(much, items.read, model, ask, files, state.settings, "embeds", hold)
    encoding = ask.encoding_format
    del ask, files  # numbers as Python's take ten times the room of an array, and a request may wait for long
    hold.keep(items.bytes_of(given))
    (found,) = await results(request, state, model, "embed", [_job(model, given)], given)
    if kind == npy.MEDIA_TYPE:
        return Response(npy.encode(found), 200, {"x-amostra-model": model.id}, npy.MEDIA_TYPE)
    tokens = sum(map(len, given)) if isinstance(given, list) else 0
    about = {"object": "list", "model": model.id, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}
    return await aside(found.size > _INLINE_NUMBERS, _listing, found, encoding, about)


def _job(model: LoadedModel, given: items.Items) -> tuple[Job, float]:
    if isinstance(given, list):
        embedding.check_lengths(model, given)
        return embedding.embed_texts(model, given), float(sum(map(len, given)))
    return embedding.embed_samples(model, given), float(len(given))


def _listing(embeddings: np.ndarray, encoding: str, about: dict[str, Any]) -> Response:
    rows = embeddings.astype("<f4")  # (N, E), as OpenAI's clients read it
    values = [base64.b64encode(row.tobytes()).decode("ascii") for row in rows] if encoding == "base64" else rows
    return answer.listing(
        about, ({"object": "embedding", "index": i, "embedding": value} for i, value in enumerate(values))
    )
