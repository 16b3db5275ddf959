"""Around every request: an id, one rendering of errors, and the request metrics."""

import itertools
import logging
import re
import secrets
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import logs
from service.api import answer
from service.api.headers import headers_of
from service.api.terms import TERMS
from service.errors import AmostraError, BadRequest, ClientGone, InternalError, MethodNotAllowed, NotFound
from service.metrics import Metrics
from service.stopping import Stopping

if TYPE_CHECKING:  # only where it is on is it imported
    from service.tracing import Tracing

log = logging.getLogger("amostra.http")

_REQUEST_ID = re.compile(rb"^[A-Za-z0-9._-]{1,64}\Z")
_PROCESS = secrets.token_hex(6)
_numbers = itertools.count(secrets.randbits(32))
_METHODS = {"DELETE", "GET", "HEAD", "POST"}
_SECURITY = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
]


class RequestMiddleware:
    """The outermost layer of our application."""

    def __init__(
        self, app: ASGIApp, metrics: Metrics, templates: dict[Any, str], stopping: Stopping, state: SimpleNamespace
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._templates = templates
        self._state = state
        self._stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = scope["amostra.request_id"] = _request_id(scope)
        start = time.perf_counter()
        status, whole = 0, False
        trace = scope["amostra.trace"] = {"request_id": request_id}
        own = [*_SECURITY, (b"x-request-id", request_id.encode())]
        tracing = self._state.service.tracing
        if tracing is not None:
            handed = tracing.begin(request_id, scope["method"], scope["headers"])
            own += [(name.encode(), value.encode()) for name, value in handed.items()]
            if (trace_id := tracing.trace_id(request_id)) is not None:
                trace["trace_id"] = trace_id
        logs.request.set(trace)

        async def send_with_id(message: Message) -> None:
            nonlocal status, whole
            if message["type"] != "http.response.body":
                status = message["status"]
                if "amostra.cache" in scope:
                    own.append((b"x-amostra-cache", scope["amostra.cache"].encode()))
                if self._stopping.begun:
                    own.append((b"connection", b"close"))
                message["headers"] = [*message["headers"], *own]
                computed = scope.get("amostra.computed")
                if computed is not None:
                    encoding = time.perf_counter() - computed
                    self._metrics.encoded(self._templates.get(scope.get("endpoint"), "other"), encoding)
                    if tracing is not None:
                        tracing.part(request_id, "encode", encoding)
            await send(message)
            whole = message["type"] != "http.response.start" and not message.get("more_body", False)

        inside = TERMS in scope  # a line of a batch is counted as such, and nobody waits for it
        if not inside:
            self._metrics.began()
        error: AmostraError | None = None
        try:
            await self._app(scope, receive, send_with_id)
        except Exception as raised:
            error = as_ours(raised)
            if isinstance(error, InternalError):
                log.exception("request %s failed", request_id)
            if not status and not isinstance(error, ClientGone):
                response = answer.error(error, scope["path"], request_id)
                await response(scope, receive, send_with_id)
        finally:
            if "amostra.hold" in scope:
                scope["amostra.hold"].release()
            self._count(scope, status, error or scope.get("amostra.error"), time.perf_counter() - start, whole, tracing)
            del error  # its traceback knows this frame: a circle, with the request in it

    def _count(
        self,
        scope: Scope,
        status: int,
        error: AmostraError | None,
        seconds: float,
        whole: bool,
        tracing: "Tracing | None",
    ) -> None:
        route = self._templates.get(scope.get("endpoint"), "other")
        model = scope.get("amostra.model", "")
        code = status or (error.status if error else 499)
        method = scope["method"] if route != "other" and scope["method"] in _METHODS else ""
        inside = TERMS in scope
        if not inside:
            self._metrics.ended(route, method, code, model, seconds, scope["amostra.trace"])
        if tracing is not None:
            named = error.code if error is not None else None
            tracing.end(scope["amostra.request_id"], route, scope["method"], code, model, named)
        if "amostra.key" in scope and not inside:
            self._metrics.key_requests.labels(scope["amostra.key"], str(code)).inc()
        if error is not None:
            self._metrics.errors.labels(route, error.code).inc()
        if not whole and not inside:
            self._metrics.cancelled.labels(route).inc()


def _request_id(scope: Scope) -> str:
    """The client's, where it sent a sound one; or one of our own."""
    value = headers_of(scope).get(b"x-request-id")
    if value is not None and _REQUEST_ID.match(value):
        return value.decode("ascii")
    return f"{_PROCESS}{next(_numbers):012x}"


def as_ours(error: Exception) -> AmostraError:
    """Any exception as one of our tree."""
    if isinstance(error, AmostraError):
        return error
    if isinstance(error, HTTPException):
        if error.status_code == 405:
            allow = (error.headers or {}).get("Allow", "").split(", ")
            return MethodNotAllowed("this route does not answer that method; GET /docs lists the routes", allow=allow)
        if error.status_code == 404:
            return NotFound("there is no such route; GET /docs lists the routes")
        return BadRequest(str(error.detail))
    if isinstance(error, ClientDisconnect):
        return ClientGone("the client left while it was sending")
    return InternalError("the service failed on this request; its log has the reason under the request id")
