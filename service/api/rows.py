"""Route of rows: draw them, from a seed, on the way between seeds, or from latents."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from service.api import answer, asked, body
from service.api.aside import aside
from service.api.results import results
from service.api.state import state_of
from service.codecs import columns, npy, table
from service.errors import TooLarge
from service.model import LoadedModel
from service.schemas import SampleBody
from service.tasks import generate as generating

OFFERS = (answer.JSON, npy.MEDIA_TYPE, *table.MEDIA_TYPES)
_INLINE_NUMBERS = 4096


async def sample(request: Request) -> Response:
    """Draw rows of a table.

    As JSON: objects by column name, as they may be scored and embedded. As npy: the vectors, float32 (N, D).
    """
    state = state_of(request)
    ask = await body.read_json(request, SampleBody, state.settings)
    kind = answer.choose(request, OFFERS)
    model = await asked.model(request, state, ask.model, "sample")
    if ask.n > state.settings.max_rows:
        raise TooLarge(f"n: {ask.n} rows, the limit is {state.settings.max_rows}: ask several times", field="n")
    drawing = _plan(model, ask)
    same = drawing.of_any_seed(ask.seed) if state.results.max_bytes else None
    drawn = np.concatenate(
        await results(request, state, model, "sample", generating.draw(model, drawing), same)
    )  # (n, D)
    much = drawn.size > _INLINE_NUMBERS or kind in table.MEDIA_TYPES
    return await aside(much, _answer, kind, model, drawing, drawn)


def _plan(model: LoadedModel, ask: SampleBody) -> generating.Drawing:
    seed = generating.seed_of(ask.seed, ask.latents, ask.seeds)
    label = generating.resolve_label(model, ask.label, ask.prompt)
    return generating.plan(model, generating.Ask(ask.n, seed, label, ask.latents, tuple(ask.seeds or ())))


def _answer(kind: str, model: LoadedModel, drawing: generating.Drawing, drawn: np.ndarray) -> Response:
    about = {"model": model.id, **drawing.origin}
    headers = {f"x-amostra-{name}": str(value) for name, value in about.items()}
    if kind == npy.MEDIA_TYPE:
        return Response(npy.encode(drawn), 200, headers, kind)
    known = columns.columns_of(model.manifest.data)
    values = columns.values(drawn, known)
    if kind != answer.JSON:
        return Response(table.written(values, known, kind), 200, headers, kind)
    return answer.listing({"object": "list", **about}, _items(model, drawing, values))


def _items(model: LoadedModel, drawing: generating.Drawing, values: dict[str, list[Any]]) -> Iterator[dict[str, Any]]:
    each = answer.numbered(model.manifest, drawing.n, drawing.labels)
    for about, row in zip(each, zip(*values.values(), strict=True), strict=True):
        yield {"object": "row", **about, "row": dict(zip(values, row, strict=True))}
