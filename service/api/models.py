"""Routes of models: what is in the store, and what each can do."""

from contextlib import suppress
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from service.api import answer, asked
from service.api.state import state_of
from service.catalog import Catalog
from service.entry import Entry
from service.errors import Invalid, NotFound, NotReady
from service.model import Card
from service.tasks.score import default_of, statistics_of

_STATES = ("ready", "all")
_LEVELS = np.linspace(0, 1, 101)
"""Of the quantiles that say how scores are spread."""


async def list_models(request: Request) -> Response:
    """The models that serve, unloaded ones too; with state=all also those being loaded or refused, and other versions."""
    catalog = state_of(request).catalog
    wanted = request.query_params.get("state", "ready")
    if wanted not in _STATES:
        raise Invalid(f"state: expected one of {', '.join(_STATES)}, found {wanted[:40]!r}", field="state")
    entries = catalog.current() if wanted == "ready" else catalog.entries()
    return answer.json({"object": "list", "data": [_summary(entry, catalog) for entry in entries]})


async def get_model(request: Request) -> Response:
    """One model and its manifest; `name` or `name@version`."""
    catalog = state_of(request).catalog
    wanted = request.path_params["id"]
    name, _, version = wanted.partition("@")
    entries = [e for e in catalog.entries() if e.name == name and version in ("", e.version)]
    if not entries:
        raise NotFound(
            f"model: there is no {wanted[:80]!r}; GET /v1/models?state=all lists what there is", field="model"
        )
    entry = next((e for e in reversed(entries) if e.card is not None), entries[-1])
    manifest = entry.card.manifest.model_dump(mode="json", exclude_none=True) if entry.card else None
    return answer.json({**_summary(entry, catalog), "manifest": manifest})


async def get_sheet(request: Request) -> Response:
    """A picture of what a model does."""
    card = state_of(request).catalog.find(request.path_params["id"]).card
    if card is None or card.sheet is None:
        raise NotFound(f"sheet: model {request.path_params['id']} came without a sample sheet", field="model")
    return Response(card.sheet, media_type=answer.PNG)


async def get_drift(request: Request) -> Response:
    """How far the p-values that a model gave of late are from those of normal data."""
    state = state_of(request)
    card = state.catalog.find(request.path_params["id"]).card
    if card is None or card.manifest.calibration is None:
        raise NotFound(f"drift: model {request.path_params['id']} gives no p-values", field="model")
    calibration = card.manifest.calibration
    about = {"object": "drift", "model": card.id, "version": card.version, "calibration_size": calibration.size}
    return answer.json(about | state.metrics.drift.report(card.id))


async def get_calibration(request: Request) -> Response:
    """How the scores of normal items are spread, by each of a model's statistics: their quantiles."""
    state = state_of(request)
    model = await asked.model(request, state, request.path_params["id"], "score")
    calibration = model.manifest.calibration
    if calibration is None or model.calibration is None:
        raise NotFound(f"calibration: model {model.id} came without scores of normal items", field="model")
    quantiles = np.quantile(model.calibration, _LEVELS, axis=1).T  # (K, levels)
    about = {"object": "calibration", "model": model.id, "version": model.version}
    about |= calibration.model_dump(include={"size", "data"})
    names = statistics_of(model)
    return answer.json(
        {
            **about,
            "statistic": default_of(model),
            "levels": _LEVELS.tolist(),
            "quantiles": dict(zip(names, quantiles.tolist(), strict=True)),
        }
    )


def _default_for(card: Card, catalog: Catalog) -> list[str]:
    """The tasks that it does where a request names no model."""
    tasks = []
    for task in card.tasks:
        with suppress(NotFound, NotReady):  # another version of it can, and is not there
            tasks += [task] if catalog.default(task) == card.id else []
    return tasks


def _summary(entry: Entry, catalog: Catalog) -> dict[str, Any]:
    card = entry.card
    manifest = card.manifest if card else None
    summary: dict[str, Any] = {
        "id": entry.name,
        "object": "model",
        "created": int(max((mark[2] for mark in entry.fingerprint), default=0) / 1e9),
        "owned_by": "amostra",
        "version": entry.version,
        "state": "ready" if entry.model is not None else entry.state,
        "problem": entry.problem,
        "family": manifest.family if manifest else None,
        "description": manifest.description if manifest else None,
        "tasks": list(card.tasks) if card else [],
        "default_for": _default_for(card, catalog) if card else [],
        "capabilities": sorted(manifest.capabilities) if manifest else [],
        "providers": {str(c): p for c, p in card.providers.items()} if card else {},
        "restores": manifest.restoration.degradation if manifest and manifest.restoration else None,
        "samplers": list(manifest.sampling.samplers) if manifest else [],
        "sigma_range": manifest.sigma_range if manifest else None,
        "latent_size": manifest.latent.size if manifest and manifest.latent else None,
        "data": manifest.data.model_dump(mode="json", include={"kind", "dataset", "shape", "class_names"})
        if manifest
        else None,
    }
    return summary
