"""What a call is: a request, and how its answer is read. It is a value; clients carry it out."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import httpx

from amostra.events import Content
from amostra.sent import Body

T = TypeVar("T")
JSON = "application/json"


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request, and how its answer is read."""

    method: str
    path: str
    parse: Callable[[httpx.Response], T]
    body: Body = field(default_factory=Body)
    accept: str = JSON
    repeatable: bool = True
    """Whether it may be done twice. It may where nothing is kept, and the same seed gives the same bytes."""


@dataclass(frozen=True)
class StreamCall(Generic[T]):
    """A request whose answer comes in pieces, and how one event of it is read."""

    call: Call[httpx.Response]
    parse: Callable[[Content], T]


def content_of(response: httpx.Response) -> bytes:
    """For answers that are taken as they are."""
    return response.content
