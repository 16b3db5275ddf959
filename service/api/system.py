"""Routes of operation: metrics, and the documentation."""

from importlib.resources import files
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Match

from service.api import answer
from service.api.state import state_of
from service.errors import MethodNotAllowed, NotFound

SWAGGER_UI = Path(str(files("bentoml"))) / "_internal/server/static_content"
"""Swagger UI's files as BentoML's pinned package brings them, so that the page works without other hosts."""

OF_THE_FRAMEWORK = ("/livez", "/readyz")
_DOCS = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Amostra: the API</title>
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true})</script>
</body>
</html>
"""


async def metrics(request: Request) -> Response:
    """Prometheus metrics in OpenMetrics' text format."""
    state = state_of(request)
    state.metrics.jobs.set(state.engine.live)
    for entry in state.catalog.current():
        if entry.model is not None:
            state.metrics.queue_rows.labels(entry.name).set(state.engine.waiting_rows(entry.model))
    return Response(state.metrics.render(), media_type=state.metrics.content_type)


async def openapi(request: Request) -> Response:
    """This document."""
    return answer.json(request.app.state.openapi)


async def docs(request: Request) -> Response:
    """The API, to be read and tried in a browser."""
    return HTMLResponse(_DOCS)


async def missing(request: Request) -> Response:
    """Whatever has no route, or has one for another method."""
    partial = [route for route in request.app.routes if route.matches(request.scope)[0] is Match.PARTIAL]
    allow = {method for route in partial for method in route.methods}
    if request.url.path in OF_THE_FRAMEWORK:  # which answers these before us, and hands over what it does not
        allow = {"GET", "HEAD"}
    if allow:
        raise MethodNotAllowed(
            f"{request.url.path!r} does not answer {request.method}; GET /docs lists the routes", allow=allow
        )
    raise NotFound(f"there is no {request.url.path[:200]!r}; GET /docs lists the routes")
