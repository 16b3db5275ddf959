"""Routes of models: what is in the store, and what each can do."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from service.api import answer
from service.api.state import state_of
from service.entry import Entry
from service.errors import Invalid, NotFound

_STATES = ("ready", "all")


async def list_models(request: Request) -> Response:
    """The models that serve, unloaded ones too; with state=all also those being loaded or refused, and other versions."""
    catalog = state_of(request).catalog
    wanted = request.query_params.get("state", "ready")
    if wanted not in _STATES:
        raise Invalid(f"state: expected one of {', '.join(_STATES)}, found {wanted[:40]!r}", field="state")
    entries = catalog.current() if wanted == "ready" else catalog.entries()
    return answer.json({"object": "list", "data": [_summary(entry) for entry in entries]})


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
    return answer.json({**_summary(entry), "manifest": manifest})


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


def _summary(entry: Entry) -> dict[str, Any]:
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
        "capabilities": sorted(manifest.capabilities) if manifest else [],
        "providers": {str(c): p for c, p in card.providers.items()} if card else {},
        "restores": manifest.restoration.degradation if manifest and manifest.restoration else None,
        "samplers": list(manifest.sampling.samplers) if manifest else [],
        "sigma_range": manifest.sigma_range if manifest else None,
        "latent_size": manifest.latent.size if manifest and manifest.latent else None,
    }
    return summary
