"""Route of scores: how probable items are, and how unusual."""

import math
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from contract import Capability
from service.api import answer, asked, body, items
from service.api.aside import aside
from service.api.results import result
from service.api.state import State, state_of
from service.codecs import npy
from service.engine.job import Job
from service.model import LoadedModel
from service.schemas import ScoreBody, ScoreFields
from service.tasks import score as scoring

OFFERS = (answer.JSON, npy.MEDIA_TYPE)
_INLINE_ITEMS = 256


async def score(request: Request) -> Response:
    """Score images, vectors or text. As npy: float64 (N, 2), log_prob and p_value; (N, 1) without calibration."""
    state = state_of(request)
    ask, files = await body.read_files(request, ScoreBody, ScoreFields, state.settings)
    model = await asked.model(request, state, ask.model, "score", items.kind_of(ask))
    kind = answer.choose(request, OFFERS)
    given = await aside(body.is_much(request, files), items.read, model, ask, files, state.settings, "scores")
    scores = await result(request, state, model, "score", _job(model, given), given)
    much = len(scores.log_prob) > _INLINE_ITEMS
    if kind == npy.MEDIA_TYPE:
        return await aside(much, _columns, state, model, scores)
    return await aside(much, _listing, state, model, scores, ask.alpha)


def _job(model: LoadedModel, given: items.Items) -> tuple[Job, float]:
    if isinstance(given, list):
        return scoring.score_texts(model, given), float(sum(map(len, given)))
    return scoring.score_samples(model, given), float(len(given))


def _observe(state: State, model: LoadedModel, scores: scoring.Scores) -> None:
    histogram = state.metrics.p_values.labels(model.id)
    for p in () if scores.p_value is None else scores.p_value.tolist():
        histogram.observe(p)


def _columns(state: State, model: LoadedModel, scores: scoring.Scores) -> Response:
    _observe(state, model, scores)
    columns = [scores.log_prob] if scores.p_value is None else [scores.log_prob, scores.p_value]
    blob = npy.encode(np.stack(columns, axis=-1), np.float64)
    return Response(blob, 200, {"x-amostra-model": model.id}, npy.MEDIA_TYPE)


def _listing(state: State, model: LoadedModel, scores: scoring.Scores, alpha: float) -> Response:
    _observe(state, model, scores)
    calibration, text = model.manifest.calibration, model.manifest.data.kind == "text"
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
            item |= {"p_value": p, "is_anomaly": p <= alpha}
        else:
            item |= {"p_value": None, "is_anomaly": None}
        listed.append(item)
    about: dict[str, Any] | None = None
    if calibration is not None:
        about = calibration.model_dump(include={"size", "statistic", "data"})
        about["smallest_p_value"] = 1 / (calibration.size + 1)
    density = model.manifest.capabilities[Capability.LOG_DENSITY].density
    head = {"object": "list", "model": model.id, "alpha": alpha, "density": density, "calibration": about}
    return answer.listing(head, listed)
