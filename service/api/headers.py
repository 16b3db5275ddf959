"""A request's headers by name, as bytes: looked through once, and without Starlette's mapping of all of them."""

from typing import TypeVar

from starlette.requests import Request
from starlette.types import Scope

D = TypeVar("D", str, None)
_KEY = "amostra.headers"


def headers_of(scope: Scope) -> dict[bytes, bytes]:
    """By their names in lower case; of several of one name the first. They are kept with the request."""
    found = scope[_KEY] = dict(reversed(scope["headers"]))
    return found


def header(request: Request, name: bytes, default: D) -> str | D:
    """A header by its name in lower case."""
    scope = request.scope
    value = (scope[_KEY] if _KEY in scope else headers_of(scope)).get(name)
    return default if value is None else value.decode("latin-1")
