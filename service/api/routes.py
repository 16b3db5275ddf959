"""Every route of the service: its handler, and all that the documentation says of it."""

from service.api import answer, completions, embeddings, examples, images, models, score, system
from service.api.table import Route
from service.codecs import npy, table
from service.schemas import (
    CompletionBody,
    DenoiseBody,
    EditBody,
    EmbedBody,
    GenerateBody,
    RestoreBody,
    ScoreBody,
)

_PICTURES = ("image/png", "image/jpeg", npy.MEDIA_TYPE)
_PICTURES_AND_TABLES = (*_PICTURES, *table.MEDIA_TYPES)
_IMAGES_OUT = (answer.JSON, answer.PNG, npy.MEDIA_TYPE)
_POSTED = (400, 404, 406, 413, 415, 422, 429, 500, 503, 504)
_FILE = {"type": "string", "format": "binary"}
_FILES = {"type": "array", "items": _FILE}
_MODEL = {"type": "string", "description": "Model name, or name@version; the task's default if left out."}
_SIGMA = {"type": "number", "minimum": 0}
_FORMAT = {"enum": ["b64_json", "png", "npy"]}
_DRAWN = {
    "prompt": {"type": "string", "description": "A class name."},
    "label": {"type": "integer", "minimum": 0},
    "n": {"type": "integer", "minimum": 1},
    "seed": {"type": "integer", "minimum": 0},
    "steps": {"type": "integer", "minimum": 1},
    "sampler": {"type": "string"},
    "guidance": {"type": "number", "minimum": 0},
    "temperature": {"type": "number", "minimum": 0},
    "response_format": _FORMAT,
}
_ENCODING = {"enum": ["float", "base64"]}
_ALPHA = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
_SCORED = {
    "model": _MODEL,
    "alpha": _ALPHA,
    "fdr": _ALPHA,
    "statistic": {"type": "string"},
    "explain": {"type": "boolean"},
}

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
    Route("GET", "/v1/models/{id}/sheet", models.get_sheet, "models", answers=(answer.PNG,), errors=(404, 503)),
    Route("GET", "/v1/models/{id}/drift", models.get_drift, "models", answer_example=examples.DRIFT, errors=(404, 503)),
    Route(
        "POST",
        "/v1/images/generations",
        images.generate,
        "images",
        body=GenerateBody,
        answer_example=examples.GENERATED,
        examples={
            "a seven": {"prompt": "7", "seed": 1},
            "a grid": {"n": 16, "seed": 1},
            "from one seed to another": {"n": 8, "seeds": [1, 2], "prompt": "7"},
            "as it comes about": {"prompt": "7", "seed": 1, "stream": True, "partial_images": 3},
        },
        answers=(*_IMAGES_OUT, "text/event-stream"),
        errors=_POSTED,
    ),
    Route(
        "POST",
        "/v1/images/edits",
        images.edit,
        "images",
        body=EditBody,
        answer_example=examples.EDITED,
        examples={"base64": {"image": "iVBORw0KGgo…", "mask": "iVBORw0KGgo…", "n": 4, "seed": 1}},
        raw_bodies=_PICTURES,
        form={
            "type": "object",
            "properties": {"image": _FILE, "mask": _FILE, "model": _MODEL, **_DRAWN},
            "required": ["image"],
        },
        query={"model": _MODEL, **_DRAWN},
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
        query={"model": _MODEL, "sigma": _SIGMA, "response_format": _FORMAT},
        answers=_IMAGES_OUT,
        errors=_POSTED,
    ),
    Route(
        "POST",
        "/v1/images/restore",
        images.restore,
        "images",
        body=RestoreBody,
        answer_example=examples.RESTORED,
        examples={"base64": {"image": "iVBORw0KGgo…"}},
        raw_bodies=_PICTURES,
        form={"type": "object", "properties": {"image": _FILES, "model": _MODEL, "sigma": _SIGMA}},
        query={"model": _MODEL, "sigma": _SIGMA, "response_format": _FORMAT},
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
            "rows": {"model": "a-table-model", "inputs": [{"temperature": 71.3, "valve": "open", "flow": None}]},
        },
        raw_bodies=_PICTURES_AND_TABLES,
        form={"type": "object", "properties": {"image": _FILES, **_SCORED}},
        query=_SCORED,
        answers=(answer.JSON, npy.MEDIA_TYPE),
        errors=_POSTED,
    ),
    Route(
        "POST",
        "/v1/embeddings",
        embeddings.embed,
        "embeddings",
        body=EmbedBody,
        answer_example=examples.EMBEDDED,
        examples={
            "base64": {"image": "iVBORw0KGgo…"},
            "vectors": {"model": "a-table-model", "inputs": [[0.1, 0.2]], "encoding_format": "base64"},
        },
        raw_bodies=_PICTURES_AND_TABLES,
        form={"type": "object", "properties": {"image": _FILES, "model": _MODEL, "encoding_format": _ENCODING}},
        query={"model": _MODEL, "encoding_format": _ENCODING},
        answers=(answer.JSON, npy.MEDIA_TYPE),
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
        "GET",
        "/readyz",
        None,
        "operation",
        "The store is loaded, its default models are there.",
        answers=("text/plain",),
        errors=(503,),
    ),
    Route("GET", "/metrics", system.metrics, "operation", answers=("application/openmetrics-text",)),
    Route("GET", "/openapi.json", system.openapi, "operation"),
    Route("GET", "/docs", system.docs, "operation", answers=("text/html",)),
)
