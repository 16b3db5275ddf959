"""Server-sent events: a stream whose work is given up when it ends."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from service.api.waiting import Pending


class Events(StreamingResponse):
    """A stream whose jobs are given up when it ends, in whatever way, even before its first event."""

    def __init__(self, pending: Pending, events: AsyncIterator[bytes]) -> None:
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._pending = pending

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._pending:
            await super().__call__(scope, receive, send)


def event(content: dict[str, Any], name: str | None = None) -> bytes:
    """One event as it goes over the wire, with its name where it has one."""
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + orjson.dumps(content) + b"\n\n"
