"""The OpenAPI document and its page: every route, nothing that is not there, examples that work."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.routing import Route

from service.api.app import ROUTES
from service.batches.schemas import BatchBody
from service.inference_schemas import IndexBody, InferBody
from service.schemas import (
    CompletionBody,
    DenoiseBody,
    EditBody,
    EmbedBody,
    GenerateBody,
    RestoreBody,
    SampleBody,
    ScoreBody,
)
from tests.service.api.client import Api
from tests.toys.directories import TABLE

_ALL = (
    GenerateBody,
    EditBody,
    DenoiseBody,
    RestoreBody,
    SampleBody,
    ScoreBody,
    EmbedBody,
    CompletionBody,
    InferBody,
    IndexBody,
    BatchBody,
)
BODIES = {body.__name__: body for body in _ALL}
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}


@pytest.fixture(scope="module")
def document(api: Api) -> dict[str, Any]:
    answer = api.get("/openapi.json")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    return answer.json()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def walk(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from walk(value)
    elif isinstance(node, list):
        for value in node:
            yield from walk(value)


def test_the_document_is_well_formed(document: dict[str, Any]) -> None:
    assert re.fullmatch(r"3\.1\.\d", document["openapi"])
    assert set(document) <= {"openapi", "info", "paths", "components", "tags", "servers"}
    assert {"title", "version"} <= set(document["info"])
    ids = []
    for path, method, operation in operations(document):
        assert path.startswith("/")
        assert method in METHODS
        assert operation["summary"].endswith(".")
        assert operation["responses"]
        ids.append(operation["operationId"])
        for status, response in operation["responses"].items():
            assert re.fullmatch(r"[1-5]\d\d", status)
            assert response["description"]
            for media in response["content"]:
                assert re.fullmatch(r"[\w.+-]+/[\w.+-]+", media)
        declared = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
        assert declared == set(re.findall(r"{(\w+)}", path))
        for parameter in operation.get("parameters", []):
            assert parameter["in"] in ("path", "query", "header")
            assert "schema" in parameter
            assert parameter["required"] == (parameter["in"] == "path")
    assert len(set(ids)) == len(ids)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    references = [node["$ref"] for node in walk(document) if "$ref" in node]
    assert references
    for reference in references:
        node: Any = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def test_every_route_is_described_and_every_description_is_a_route(api: Api, document: dict[str, Any]) -> None:
    described = {(path, method.upper()) for path, method, _ in operations(document)}
    served = {
        (route.path, method)
        for route in api.app.routes
        if isinstance(route, Route) and route.path not in ("/", "/playground", "/{path:path}")
        for method in (route.methods or set()) - {"HEAD"}
    }
    of_the_framework = {(path, "GET") for path in ("/livez", "/readyz")}
    assert described == served | of_the_framework == {(r.path, r.method) for r in ROUTES}


def test_every_post_describes_its_errors_in_the_envelope_of_its_protocol(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        computes = operation["tags"] != ["batches"] and path != "/v2/repository/index"
        if method == "post" and computes:
            assert {"400", "404", "413", "415", "422", "429", "500", "503", "504"} <= set(operation["responses"])
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                of_inference = path == "/v2" or path.startswith("/v2/")
                kind = "application/json" if of_inference else "application/problem+json"
                name = "InferenceError" if of_inference else "Error"
                assert response["content"] == {kind: {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def test_an_error_is_what_its_schema_says(api: Api, document: dict[str, Any]) -> None:
    schema = document["components"]["schemas"]["Error"]
    body = api.get("/nowhere").json()
    assert set(schema["required"]) == set(schema["properties"]) == set(body)
    assert set(schema["properties"]["error"]["required"]) == set(body["error"])


def test_every_body_has_examples_that_its_schema_takes(document: dict[str, Any]) -> None:
    seen = set()
    for _, method, operation in operations(document):
        content = operation.get("requestBody", {"content": {}})["content"].get("application/json")
        if content is None:
            assert operation["tags"] == ["batches"] or method != "post", "files come in a form, and some posts say all"
            continue
        name = content["schema"]["$ref"].rsplit("/")[-1]
        seen.add(name)
        assert content["examples"]
        for example in content["examples"].values():
            BODIES[name].model_validate(example["value"])
    assert seen == set(BODIES)


def test_every_field_is_explained_or_bounded(document: dict[str, Any]) -> None:
    for name, body in BODIES.items():
        properties = document["components"]["schemas"][name]["properties"]
        assert set(properties) == set(body.model_fields)
        assert document["components"]["schemas"][name]["additionalProperties"] is False


def test_examples_are_answered(api: Api, document: dict[str, Any]) -> None:
    """As they stand in the document, but for names of models and pictures that only a reader can fill in."""
    answered = 0
    for path, method, operation in operations(document):
        if method != "post":
            continue
        content = operation.get("requestBody", {"content": {}})["content"].get("application/json", {"examples": {}})
        for example in content["examples"].values():
            body = dict(example["value"])
            if "…" in str(body):
                continue
            if body.get("model") == "a-table-model":
                body |= {"model": TABLE, "inputs": [[0.1, 0.2, 0.3]]}
            answer = api.post(path.format(name=f"{TABLE}.log_density", version="1"), json=body)
            assert answer.status_code == 200, answer.text
            answered += 1
    assert answered >= 4


def test_the_page_needs_no_other_host(api: Api) -> None:
    page = api.get("/docs")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(links) >= 2
    for link in links:
        assert link.startswith("/docs/assets/")
        assert api.get(link).status_code == 200
    assert "/openapi.json" in page.text
