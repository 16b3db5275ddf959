"""Route of scores: how normal items are, how unusual that is, and where in them the surprise lies."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from contract import Capability
from service.api import answer, asked, body, items
from service.api.aside import aside
from service.api.held import hold_of
from service.api.results import results
from service.api.state import State, state_of
from service.codecs import npy, overlay, picture, table
from service.engine.job import Job
from service.errors import Invalid, NotAcceptable
from service.model import LoadedModel
from service.schemas import ScoreBody, ScoreFields
from service.tasks import score as scoring

OFFERS = (answer.JSON, npy.MEDIA_TYPE, answer.PNG)
ALPHA = 0.05
_INLINE_ITEMS = 256


async def score(request: Request) -> Response:
    """Score images, vectors or text.

    As npy: float64 (N, 2), the deciding score and its p-value, or (N, 1) without calibration; with `explain` the surprise
    of each value, float32. As PNG: the images with their surprise laid over them.
    """
    state = state_of(request)
    ask, files = await body.read_files(request, ScoreBody, ScoreFields, state.settings, raw=table.MEDIA_TYPES)
    model = await asked.model(request, state, ask.model, "score", items.kind_of(ask))
    kind = answer.choose(request, OFFERS)
    statistic = _statistic(model, ask.statistic)
    if kind == answer.PNG and model.manifest.data.kind != "image":
        raise NotAcceptable(f"accept: model {model.id} scores no images: expected {answer.JSON}, found {kind}")
    explain = ask.explain or kind == answer.PNG
    hold = hold_of(request)
    given = await aside(body.is_much(request, files), items.read, model, ask, files, state.settings, "scores", hold)
    fdr = ask.fdr
    alpha = None if fdr is not None else ask.alpha or ALPHA
    del ask, files  # numbers as Python's take ten times the room of an array, and a request may wait for long
    hold.keep(items.bytes_of(given))
    (scores,) = await results(request, state, model, "score", [_job(model, given, explain)], (given, explain))
    _observe(state, model, scores)
    much = len(scores) > _INLINE_ITEMS or explain
    if kind == answer.PNG and isinstance(given, np.ndarray):
        return await aside(much, _overlay, model, given, scores)
    if kind == npy.MEDIA_TYPE:
        return await aside(explain, _columns, model, scores, statistic, explain)
    return await aside(much, _listing, model, given, scores, statistic, alpha, fdr)


def _statistic(model: LoadedModel, wanted: str | None) -> int:
    """The column that decides. Raises Invalid where the model has none of that name."""
    statistics = scoring.statistics_of(model)
    name = wanted or scoring.default_of(model)
    if name not in statistics:
        raise Invalid(
            f"statistic: model {model.id} has {', '.join(statistics)}, found {name!r}: choose one of them",
            field="statistic",
        )
    return statistics.index(name)


def _job(model: LoadedModel, given: items.Items, explain: bool) -> tuple[Job, float]:
    if isinstance(given, list):
        return scoring.score_texts(model, given, explain=explain), float(sum(map(len, given)))
    return scoring.score_samples(model, given, explain=explain), float(len(given))


def _observe(state: State, model: LoadedModel, scores: scoring.Scores) -> None:
    calibration = model.manifest.calibration
    if scores.p_value is not None and calibration is not None:
        state.metrics.drift.observe(model.id, model.version, model.content, calibration.size, scores.p_value)


def _columns(model: LoadedModel, scores: scoring.Scores, statistic: int, explain: bool) -> Response:
    headers = {"x-amostra-model": model.id}
    if explain and scores.surprise is not None:
        longest = max(map(len, scores.surprise))
        rows: Iterable[np.ndarray] = scores.surprise
        if model.manifest.data.kind == "text":  # shorter texts end in zeros
            rows = [np.pad(row, (0, longest - len(row))) for row in scores.surprise]
        return Response(npy.encode(np.stack(list(rows))), 200, headers, npy.MEDIA_TYPE)
    columns = [scores.normality[:, statistic]]
    if scores.p_values is not None:
        columns.append(scores.p_values[:, statistic])
    return Response(npy.encode(np.stack(columns, axis=-1), np.float64), 200, headers, npy.MEDIA_TYPE)


def _overlay(model: LoadedModel, images: np.ndarray, scores: scoring.Scores) -> Response:
    calibration = model.manifest.calibration
    assert scores.surprise is not None, "an overlay was asked for"
    usual = calibration.surprise if calibration is not None else None
    sheet = picture.grid(np.stack([overlay.lay(i, s, usual) for i, s in zip(images, scores.surprise, strict=True)]))
    return Response(picture.encode(sheet), 200, {"x-amostra-model": model.id}, answer.PNG)


def _listing(
    model: LoadedModel,
    given: items.Items,
    scores: scoring.Scores,
    statistic: int,
    alpha: float | None,
    fdr: float | None,
) -> Response:
    calibration = model.manifest.calibration
    about: dict[str, Any] | None = None
    if calibration is not None:
        about = calibration.model_dump(include={"size", "statistic", "data"})
        about["smallest_p_value"] = 1 / (calibration.size + 1)
    graph = model.manifest.capabilities.get(Capability.LOG_DENSITY)
    head = {
        "object": "list",
        "model": model.id,
        "alpha": alpha,
        "fdr": fdr,
        "statistic": scores.statistics[statistic],
        "density": graph.density if graph else None,
        "calibration": about,
    }
    p = None if scores.p_values is None else scores.p_values[:, statistic]
    anomalous = None
    if p is not None:
        assert calibration is not None, "p-values come from it"
        anomalous = p <= alpha if fdr is None else scoring.discoveries(scoring.conditional(p, calibration.size), fdr)
    return answer.listing(head, _items(model, given, scores, statistic, p, anomalous))


def _items(
    model: LoadedModel,
    given: items.Items,
    scores: scoring.Scores,
    statistic: int,
    p: np.ndarray | None,
    anomalous: np.ndarray | None,
) -> Iterator[dict[str, Any]]:
    bits = scores.bits_per_dim
    text, several = model.manifest.data.kind == "text", len(scores.statistics) > 1
    for i, value in enumerate(scores.normality[:, statistic].tolist()):
        item: dict[str, Any] = {
            "index": i,
            "score": value,
            "p_value": None if p is None else p[i],
            "is_anomaly": None if anomalous is None else bool(anomalous[i]),
            "log_prob": None if scores.log_prob is None else scores.log_prob[i],
            "bits_per_dim": None if bits is None else bits[i],
        }
        if text:
            # exp of the mean surprise; nothing a float can hold overflows at 700 nats a token.
            item["tokens"] = int(scores.dimensions[i])
            nats = None if scores.log_prob is None else scores.log_prob[i] / scores.dimensions[i]
            item["perplexity"] = None if nats is None or not scores.normalised else math.exp(min(700.0, -nats))
        if several:
            item["scores"] = dict(zip(scores.statistics, scores.normality[i].tolist(), strict=True))
            if scores.p_values is not None:
                item["p_values"] = dict(zip(scores.statistics, scores.p_values[i].tolist(), strict=True))
        if scores.surprise is not None:
            item["surprise"] = _surprise(model, given[i], scores.surprise[i])
        yield item


def _surprise(model: LoadedModel, item: np.ndarray, surprise: np.ndarray) -> Any:
    """Of an image nested lists, of a vector by the names of its columns, of a text token by token."""
    data = model.manifest.data
    if data.kind == "text":
        assert model.tokenizer is not None, "a text model comes with a tokenizer"
        texts = (model.tokenizer.decode([token], skip_special_tokens=False) for token in item.tolist())
        return [{"token": t, "surprise": s} for t, s in zip(texts, surprise.tolist(), strict=True)]
    if data.kind == "vector" and data.columns:
        ends = np.cumsum([column.width for column in data.columns])[:-1]
        return {c.name: float(part.sum()) for c, part in zip(data.columns, np.split(surprise, ends), strict=True)}
    if data.kind == "vector" and data.column_names:
        return dict(zip(data.column_names, surprise.tolist(), strict=True))
    return surprise
