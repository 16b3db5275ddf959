"""One row of the route table."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Route:
    """A route, and all that the documentation says of it. A route without handler is the framework's."""

    method: str
    path: str
    handler: Handler | None
    tag: str
    summary: str = ""
    body: type[BaseModel] | None = None
    body_required: bool = True
    examples: dict[str, Any] = field(default_factory=dict)
    raw_bodies: tuple[str, ...] = ()
    form: dict[str, Any] | None = None
    query: dict[str, Any] = field(default_factory=dict)
    answers: tuple[str, ...] = ("application/json",)
    answer_example: Any = None
    errors: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return self.handler.__name__ if self.handler else self.path.strip("/")

    @property
    def path_parameters(self) -> list[str]:
        return [part[1:-1] for part in self.path.split("/") if part.startswith("{")]
