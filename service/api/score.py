"""Route of scores: how probable items are, and how unusual."""

import math
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from contract import Capability
from service.api import answer, body, items
from service.api.state import State, state_of
from service.api.waiting import run
from service.engine.job import Job
from service.model import LoadedModel
from service.schemas import ScoreBody, ScoreFields
from service.tasks import score as scoring


async def score(request: Request) -> Response:
    """Score images, vectors or text."""
    state = state_of(request)
    ask, files = await body.read_files(request, ScoreBody, ScoreFields, state.settings)
    model = state.catalog.get(ask.model or state.catalog.default("score", items.kind_of(ask)), "score")
    request.scope["amostra.model"] = model.id
    job, work = _job(model, items.read(model, ask, files, state.settings, "scores"))
    scores = await run(state, request, model, job, work)
    return answer.json(_listing(state, model, scores, ask.alpha))


def _job(model: LoadedModel, given: items.Items) -> tuple[Job, float]:
    if isinstance(given, list):
        return scoring.score_texts(model, given), float(sum(map(len, given)))
    return scoring.score_samples(model, given), float(len(given))


def _listing(state: State, model: LoadedModel, scores: scoring.Scores, alpha: float) -> dict[str, Any]:
    calibration, text = model.manifest.calibration, model.manifest.data.kind == "text"
    histogram = state.metrics.p_values.labels(model.id)
    bits = scores.bits_per_dim
    listed = []
    for i, log_prob in enumerate(scores.log_prob.tolist()):
        item: dict[str, Any] = {"index": i, "log_prob": log_prob, "bits_per_dim": None if bits is None else bits[i]}
        if text:
            tokens = int(scores.dimensions[i])
            # exp of the mean surprise; nothing a float can hold overflows at 700 nats a token.
            item["tokens"] = tokens
            item["perplexity"] = math.exp(min(700.0, -log_prob / tokens)) if scores.normalised else None
        if scores.p_value is not None:
            p = float(scores.p_value[i])
            histogram.observe(p)
            item |= {"p_value": p, "is_anomaly": p <= alpha}
        else:
            item |= {"p_value": None, "is_anomaly": None}
        listed.append(item)
    about: dict[str, Any] | None = None
    if calibration is not None:
        about = calibration.model_dump(include={"size", "statistic", "data"})
        about["smallest_p_value"] = 1 / (calibration.size + 1)
    density = model.manifest.capabilities[Capability.LOG_DENSITY].density
    return {
        "object": "list",
        "model": model.id,
        "alpha": alpha,
        "density": density,
        "calibration": about,
        "data": listed,
    }
