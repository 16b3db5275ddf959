"""Route of scores: how probable items are, and how unusual."""

from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from contract import Capability
from service.api import answer, body
from service.api.state import State, state_of
from service.api.waiting import run
from service.engine.job import Job
from service.errors import Invalid, TooLarge
from service.model import LoadedModel
from service.schemas import ScoreBody, ScoreFields
from service.tasks import samples
from service.tasks import score as scoring


async def score(request: Request) -> Response:
    """Score images, vectors or text."""
    state = state_of(request)
    ask, files = await body.read_files(request, ScoreBody, ScoreFields, state.settings)
    model = state.catalog.get(ask.model or _default(state, ask), "score")
    request.scope["amostra.model"] = model.id
    job, work = _job(state, model, ask, files)
    scores = await run(state, request, model, job, work)
    return answer.json(_listing(state, model, scores, ask.alpha))


def _default(state: State, ask: ScoreFields) -> str:
    """Text goes to the default model of text, everything else to the default scorer."""
    task = "complete" if isinstance(ask, ScoreBody) and ask.input is not None else "score"
    return state.catalog.default(task)


def _job(state: State, model: LoadedModel, ask: ScoreFields, files: list[body.File]) -> tuple[Job, float]:
    data, settings = model.manifest.data, state.settings
    text = ask.input if isinstance(ask, ScoreBody) else None
    inputs = ask.inputs if isinstance(ask, ScoreBody) else None
    given = [
        name for name, there in (("image", files), ("inputs", inputs is not None), ("input", text is not None)) if there
    ]
    wanted = {"image": ("image", "inputs"), "vector": ("inputs",), "text": ("input",)}[data.kind]
    if len(given) != 1 or given[0] not in wanted:
        raise Invalid(
            f"body: model {model.id} scores {data.kind}s: expected {' or '.join(wanted)}, found {' and '.join(given) or 'none'}",
            field=wanted[0],
        )
    if text is not None:
        rows = scoring.tokenize(model, [text] if isinstance(text, str) else text, settings.max_text_characters)
        _limit(len(rows), settings.max_rows, "input")
        return scoring.score_texts(model, rows), float(sum(map(len, rows)))
    if data.kind == "image":
        batch = _numbers(inputs, model) if inputs is not None else body.images(files, data, settings)
    else:
        batch = _numbers(inputs, model)
    _limit(len(batch), settings.max_rows, "inputs")
    samples.check_range(batch, data, given[0])
    return scoring.score_samples(model, batch), float(len(batch))


def _numbers(inputs: Any, model: LoadedModel) -> np.ndarray:
    """Nested lists of numbers as a batch of samples."""
    data = model.manifest.data
    try:
        given = np.array(inputs)
    except ValueError:  # rows of several lengths
        given = np.array(None)
    if given.dtype.kind not in "iuf":
        raise Invalid("inputs: expected lists of numbers of one length, found something else", field="inputs")
    with np.errstate(over="ignore"):
        array = given.astype(np.float32)
    if not np.isfinite(array).all():
        raise Invalid("inputs: expected finite numbers, found NaN, infinity or one too large", field="inputs")
    if data.kind == "image":
        return samples.as_images(array, data, "inputs")
    width = data.shape[0]
    if array.ndim == 1 and array.shape == (width,):
        array = array[None]
    if array.ndim != 2 or array.shape[1] != width or not len(array):
        raise Invalid(f"inputs: expected rows of {width} numbers, found an array {list(array.shape)}", field="inputs")
    return array


def _limit(count: int, limit: int, field: str) -> None:
    if count > limit:
        raise TooLarge(f"{field}: {count} items, the limit is {limit}: send fewer at once", field=field)
    if count == 0:
        raise Invalid(f"{field}: expected at least one item, found none", field=field)


def _listing(state: State, model: LoadedModel, scores: scoring.Scores, alpha: float) -> dict[str, Any]:
    calibration, text = model.manifest.calibration, model.manifest.data.kind == "text"
    histogram = state.metrics.p_values.labels(model.id)
    items = []
    for i, (log_prob, bits) in enumerate(zip(scores.log_prob.tolist(), scores.bits_per_dim.tolist(), strict=True)):
        item: dict[str, Any] = {"index": i, "log_prob": log_prob, "bits_per_dim": bits}
        if text:
            tokens = int(scores.dimensions[i])
            # exp of the mean surprise; nothing a float can hold overflows at 700 nats a token.
            item["tokens"] = tokens
            item["perplexity"] = float(np.exp(min(700.0, -log_prob / tokens)))
        if scores.p_value is not None:
            p = float(scores.p_value[i])
            histogram.observe(p)
            item |= {"p_value": p, "is_anomaly": p <= alpha}
        else:
            item |= {"p_value": None, "is_anomaly": None}
        items.append(item)
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
        "data": items,
    }
