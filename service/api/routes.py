"""Every route of the service: its handler, and all that the documentation says of it."""

from service.api import answer, completions, examples, images, models, score, system
from service.api.table import Route
from service.codecs import npy
from service.schemas import CompletionBody, DenoiseBody, GenerateBody, ScoreBody

_PICTURES = ("image/png", "image/jpeg", npy.MEDIA_TYPE)
_IMAGES_OUT = (answer.JSON, answer.PNG, npy.MEDIA_TYPE)
_POSTED = (400, 404, 406, 413, 415, 422, 429, 500, 503, 504)
_FILES = {"type": "array", "items": {"type": "string", "format": "binary"}}
_MODEL = {"type": "string", "description": "Model name, or name@version; the task's default if left out."}
_SIGMA = {"type": "number", "minimum": 0}
_ALPHA = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}

ROUTES = (
    Route(
        "GET",
        "/v1/models",
        models.list_models,
        "models",
        query={"state": {"enum": ["ready", "all"]}},
        answer_example=examples.MODELS,
        errors=(422,),
    ),
    Route("GET", "/v1/models/{id}", models.get_model, "models", answer_example=examples.MODEL, errors=(404,)),
    Route(
        "POST",
        "/v1/images/generations",
        images.generate,
        "images",
        body=GenerateBody,
        answer_example=examples.GENERATED,
        examples={"a seven": {"prompt": "7", "seed": 1}, "a grid": {"n": 16, "seed": 1}},
        answers=_IMAGES_OUT,
        errors=_POSTED,
    ),
    Route(
        "POST",
        "/v1/images/denoise",
        images.denoise,
        "images",
        body=DenoiseBody,
        answer_example=examples.DENOISED,
        examples={"base64": {"image": "iVBORw0KGgo…", "sigma": 0.1}},
        raw_bodies=_PICTURES,
        form={"type": "object", "properties": {"image": _FILES, "model": _MODEL, "sigma": _SIGMA}},
        query={"model": _MODEL, "sigma": _SIGMA, "response_format": {"enum": ["b64_json", "png", "npy"]}},
        answers=_IMAGES_OUT,
        errors=_POSTED,
    ),
    Route(
        "POST",
        "/v1/score",
        score.score,
        "score",
        body=ScoreBody,
        answer_example=examples.SCORED,
        examples={
            "text": {"input": "To be, or not to be", "alpha": 0.01},
            "vectors": {"model": "a-table-model", "inputs": [[0.1, 0.2]]},
        },
        raw_bodies=_PICTURES,
        form={"type": "object", "properties": {"image": _FILES, "model": _MODEL, "alpha": _ALPHA}},
        query={"model": _MODEL, "alpha": _ALPHA},
        errors=_POSTED,
    ),
    Route(
        "POST",
        "/v1/completions",
        completions.complete,
        "text",
        body=CompletionBody,
        answer_example=examples.COMPLETED,
        examples={"verse": {"prompt": "ROMEO:", "max_tokens": 64, "seed": 1, "temperature": 0.8}},
        answers=(answer.JSON, "text/event-stream"),
        errors=_POSTED,
    ),
    Route("GET", "/livez", None, "operation", "The process answers.", answers=("text/plain",)),
    Route(
        "GET", "/readyz", None, "operation", "The default models are loaded.", answers=("text/plain",), errors=(503,)
    ),
    Route("GET", "/metrics", system.metrics, "operation", answers=("application/openmetrics-text",)),
    Route("GET", "/openapi.json", system.openapi, "operation"),
    Route("GET", "/docs", system.docs, "operation", answers=("text/html",)),
)
