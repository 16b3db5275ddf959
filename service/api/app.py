"""Our ASGI application: the route table, wrapped once."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Mount
from starlette.routing import Route as StarletteRoute
from starlette.staticfiles import StaticFiles

from service.api import openapi, system
from service.api.middleware import RequestMiddleware, no_answer
from service.api.routes import ROUTES
from service.errors import AmostraError
from service.metrics import Metrics

VERSION = "0.1.0"


def create_app(metrics: Metrics) -> Starlette:
    """The application; `app.state.service` must be a State before the first request."""
    served = [r for r in ROUTES if r.handler is not None]
    templates = {r.handler: r.path for r in served}
    app = Starlette(
        routes=[
            *(StarletteRoute(r.path, r.handler, methods=[r.method]) for r in served if r.handler),
            StarletteRoute("/", system.home, methods=["GET"]),
            Mount("/docs/assets", StaticFiles(directory=system.SWAGGER_UI)),
            StarletteRoute(
                "/{path:path}", system.missing, methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
            ),
        ],
        middleware=[Middleware(RequestMiddleware, metrics=metrics, templates=templates)],
        exception_handlers={AmostraError: no_answer, HTTPException: no_answer},
    )
    app.state.openapi = openapi.document(ROUTES, VERSION)
    return app
