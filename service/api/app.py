"""Our ASGI application: the route table, wrapped once."""

from types import SimpleNamespace
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.routing import Mount, Router
from starlette.routing import Route as StarletteRoute
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from service.api import openapi, playground, system
from service.api.middleware import RequestMiddleware
from service.api.routes import ROUTES
from service.api.terms import PROTECTED, TERMS
from service.errors import NotReady
from service.metrics import Metrics
from service.stopping import Stopping

VERSION = "0.1.0"


class Application:
    """The application; `state.service` must be a State before the first request.

    A path without parameters leads straight to its handler; everything else goes through Starlette's router, which tries
    one pattern after the other.
    """

    def __init__(self, metrics: Metrics) -> None:
        served = [route for route in ROUTES if route.handler is not None]
        page = playground.Playground()
        templates: dict[Any, str] = {route.handler: route.path for route in served} | {page: playground.PATH}
        self._handlers = {(r.method, r.path): r.handler for r in served if r.handler and not r.path_parameters}
        self._router = Router(
            [
                *(StarletteRoute(r.path, r.handler, methods=[r.method]) for r in served if r.handler),
                StarletteRoute("/", playground.enter, methods=["GET"]),
                StarletteRoute(playground.PATH, playground.enter, methods=["GET"]),
                Mount(playground.PATH, page),
                Mount("/docs/assets", StaticFiles(directory=system.SWAGGER_UI)),
                StarletteRoute(
                    "/{path:path}", system.missing, methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
                ),
            ]
        )
        self.routes = self._router.routes
        self.state = SimpleNamespace(openapi=openapi.document(ROUTES, VERSION))
        self.stopping = Stopping()
        self.entrance = RequestMiddleware(self._dispatch, metrics, templates, self.stopping, self.state)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.entrance(scope, receive, send)  # a coroutine function, by which servers know ASGI 3

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        if self.stopping.begun and scope.get("path", "").startswith(PROTECTED):
            raise NotReady("the service is stopping: send the request to another replica, or again", retry_after=1)
        keys = self.state.service.keys
        if keys is not None and scope.get("path", "").startswith(PROTECTED):
            inside = scope.get(TERMS)
            scope["amostra.key"] = inside.owner if inside else keys.admit(Headers(scope=scope).get("authorization", ""))
        handler = self._handlers.get((scope.get("method", ""), scope.get("path", "")))
        if handler is None:
            await self._router(scope, receive, send)
            return
        scope["endpoint"] = handler
        response = await handler(Request(scope, receive, send))
        await response(scope, receive, send)
