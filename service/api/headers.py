"""A request's headers by name, as bytes: looked through once, and without Starlette's mapping of all of them."""

from collections.abc import Set
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
    value = (request.scope.get(_KEY) or headers_of(request.scope)).get(name)
    return default if value is None else value.decode("latin-1")


def has_any(request: Request, names: Set[bytes]) -> bool:
    """Whether there is a header of one of these names in lower case."""
    return not names.isdisjoint(request.scope.get(_KEY) or headers_of(request.scope))
