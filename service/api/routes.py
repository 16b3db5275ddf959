"""Every route of the service: its handler, and all that the documentation says of it."""

from service.api import (
    answer,
    batches,
    completions,
    embeddings,
    examples,
    files,
    images,
    inference,
    models,
    score,
    system,
)
from service.api.table import Route
from service.batches.schemas import BatchBody
from service.codecs import npy, table
from service.inference_schemas import IndexBody, InferBody
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
_AFTER = {"type": "string", "maxLength": 64, "description": "The last id of the page before."}
_PROTOCOL = "open inference protocol"
_GRAPH = "/v2/models/{name}"
_VERSION = "/v2/models/{name}/versions/{version}"

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
        "GET",
        "/v1/models/{id}/calibration",
        models.get_calibration,
        "models",
        answer_example=examples.CALIBRATION,
        errors=(404, 422, 503, 504),
    ),
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
    Route("GET", "/v2", inference.server_metadata, _PROTOCOL, answer_example=examples.SERVER),
    Route("GET", "/v2/health/live", inference.server_live, _PROTOCOL),
    Route("GET", "/v2/health/ready", inference.server_ready, _PROTOCOL, errors=(503,)),
    Route(
        "POST",
        "/v2/repository/index",
        inference.repository_index,
        _PROTOCOL,
        body=IndexBody,
        body_required=False,
        answer_example=examples.INDEX,
        examples={"those that can be asked for": {"ready": True}},
        errors=(400, 413, 415, 422),
    ),
    *(
        route
        for path, metadata, ready, infer in (
            (_GRAPH, inference.model_metadata, inference.model_ready, inference.infer),
            (_VERSION, inference.version_metadata, inference.version_ready, inference.version_infer),
        )
        for route in (
            Route("GET", path, metadata, _PROTOCOL, answer_example=examples.GRAPH, errors=(404, 503)),
            Route("GET", f"{path}/ready", ready, _PROTOCOL, errors=(404, 503)),
            Route(
                "POST",
                f"{path}/infer",
                infer,
                _PROTOCOL,
                body=InferBody,
                answer_example=examples.INFERRED,
                examples={"a row of a table": examples.INFER},
                raw_bodies=(inference.OCTETS,),
                answers=(answer.JSON, inference.OCTETS),
                errors=_POSTED,
            ),
        )
    ),
    Route(
        "POST",
        "/v1/files",
        files.upload_file,
        "batches",
        form={
            "type": "object",
            "properties": {
                "purpose": {"enum": ["batch"]},
                "file": {**_FILE, "description": "Lines of {custom_id, method, url, body}."},
                "expires_after[anchor]": {"enum": ["created_at"]},
                "expires_after[seconds]": {"type": "integer", "minimum": 3600, "maximum": 2592000},
            },
            "required": ["purpose", "file"],
        },
        answer_example=examples.FILE,
        errors=(400, 404, 413, 415, 422, 429, 503),
    ),
    Route(
        "GET",
        "/v1/files",
        files.list_files,
        "batches",
        query={
            "after": _AFTER,
            "limit": {"type": "integer", "minimum": 1, "maximum": 10_000},
            "order": {"enum": ["asc", "desc"]},
            "purpose": {"type": "string", "maxLength": 32},
        },
        answer_example=examples.FILES,
        errors=(404, 422),
    ),
    Route("GET", "/v1/files/{id}", files.get_file, "batches", answer_example=examples.FILE, errors=(404,)),
    Route("DELETE", "/v1/files/{id}", files.delete_file, "batches", answer_example=examples.DELETED, errors=(404, 409)),
    Route("GET", "/v1/files/{id}/content", files.get_content, "batches", answers=(files.CONTENT,), errors=(404,)),
    Route(
        "POST",
        "/v1/batches",
        batches.create_batch,
        "batches",
        body=BatchBody,
        examples={
            "texts over night": {"input_file_id": "file-…", "endpoint": "/v1/completions", "completion_window": "24h"}
        },
        answer_example=examples.BATCH,
        errors=(400, 404, 413, 415, 422, 429, 503),
    ),
    Route(
        "GET",
        "/v1/batches",
        batches.list_batches,
        "batches",
        query={"after": _AFTER, "limit": {"type": "integer", "minimum": 1, "maximum": 100}},
        answer_example=examples.BATCHES,
        errors=(404, 422),
    ),
    Route("GET", "/v1/batches/{id}", batches.get_batch, "batches", answer_example=examples.BATCH, errors=(404,)),
    Route(
        "POST",
        "/v1/batches/{id}/cancel",
        batches.cancel_batch,
        "batches",
        answer_example=examples.BATCH,
        errors=(404, 409, 503),
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
