"""Asking our own application, in this process: a line is answered by the code that answers it online.

It comes without a key, on the account of the batch's owner, behind all interactive requests, and with as much time as the
batch has left.
"""

import asyncio
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Scope

from service.api.terms import TERMS, Terms
from service.engine.batch import BACKGROUND
from service.errors import ClientGone

JSON = "application/json"


@dataclass(slots=True)
class Answer:
    """What came back; a body that is no JSON was not waited for."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def is_json(self) -> bool:
        kind = self.headers.get("content-type", "")
        return kind == JSON or kind.endswith("+json")


async def ask(app: ASGIApp, path: str, content: bytes, owner: str, seconds: float, request_id: str) -> Answer:
    """POST some JSON. `owner` is the id of a key, or empty."""
    headers = {
        "content-type": JSON,
        "content-length": str(len(content)),
        "accept": JSON,
        "x-request-id": request_id,
        "x-request-priority": "background",
    }
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": None,
        "server": None,
        TERMS: Terms(seconds, False, BACKGROUND, owner),
    }
    answer, sent = Answer(), False

    async def receive() -> Message:
        nonlocal sent
        if sent:
            await asyncio.Event().wait()  # we never leave
        sent = True
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in message["headers"]}
            if not answer.is_json:
                raise ClientGone("the answer is no JSON, and a file of answers takes nothing else")
        else:
            answer.body += message.get("body", b"")

    await app(scope, receive, send)
    return answer
