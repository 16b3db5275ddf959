"""The OpenAPI document, made from the route table and the schemas, so that it cannot say anything else."""

from typing import Any

from pydantic.json_schema import models_json_schema

from service.api import answer, terms
from service.api.table import Route
from service.errors import AmostraError, Unauthorized

_ERROR = {
    "type": "object",
    "description": "RFC 9457 problem details and OpenAI's error object in one body.",
    "required": ["type", "title", "status", "detail", "instance", "error"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
            },
        },
    },
}

_INFERENCE_ERROR = {
    "type": "object",
    "description": "An error in the Open Inference Protocol.",
    "required": ["error"],
    "properties": {"error": {"type": "string"}},
}


def document(routes: tuple[Route, ...], version: str) -> dict[str, Any]:
    """The whole document (OpenAPI 3.1)."""
    bodies = [r.body for r in routes if r.body is not None]
    _, definitions = models_json_schema(
        [(b, "validation") for b in bodies], ref_template="#/components/schemas/{model}"
    )
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Amostra",
            "version": version,
            "description": "Draws, edits and restores images, embeds, scores how unusual something is, completes text.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": {**definitions.get("$defs", {}), "Error": _ERROR, "InferenceError": _INFERENCE_ERROR}
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    answers: dict[str, Any] = {
        "200": {
            "description": "The answer.",
            "content": {
                kind: ({"example": route.answer_example} if kind == "application/json" and route.answer_example else {})
                for kind in route.answers
            },
        }
    }
    for error in sorted(_subclasses(AmostraError), key=lambda e: e.status):
        if error.status in route.errors or (error is Unauthorized and route.path.startswith(terms.PROTECTED)):
            answers[str(error.status)] = {
                "description": error.title + ".",
                "content": _error_content(route.path),
            }
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": (route.handler.__doc__ or "").strip().split("\n")[0] if route.handler else route.summary,
        "tags": [route.tag],
        "responses": answers,
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in route.path_parameters
    ]
    parameters += [{"name": n, "in": "query", "required": False, "schema": s} for n, s in route.query.items()]
    if route.body is not None and 504 in route.errors:  # where there is work to wait for
        parameters += [{"name": n, "in": "header", "required": False, "schema": s} for n, s in terms.HEADERS.items()]
    if parameters:
        operation["parameters"] = parameters
    content: dict[str, Any] = {}
    if route.body is not None:
        content[answer.JSON] = {
            "schema": {"$ref": f"#/components/schemas/{route.body.__name__}"},
            "examples": {name: {"value": value} for name, value in route.examples.items()},
        }
    if route.body is not None or route.form is not None:
        for kind in route.raw_bodies:
            content[kind] = {"schema": {"type": "string", "format": "binary"}}
        if route.form is not None:
            content["multipart/form-data"] = {"schema": route.form}
        operation["requestBody"] = {"required": route.body_required, "content": content}
    return operation


def _error_content(path: str) -> dict[str, Any]:
    if f"{path}/".startswith(answer.INFERENCE):
        return {answer.JSON: {"schema": {"$ref": "#/components/schemas/InferenceError"}}}
    return {answer.PROBLEM: {"schema": {"$ref": "#/components/schemas/Error"}}}


def _subclasses(cls: type[AmostraError]) -> set[type[AmostraError]]:
    return set(cls.__subclasses__())
