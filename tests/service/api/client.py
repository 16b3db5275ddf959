"""Our ASGI application over toy models, called without a network.

api = Api(store)
api.post("/v1/images/generations", json={"n": 2}).json()
"""

import asyncio
import base64
import io
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
from PIL import Image

from service.api.app import Application
from service.api.state import State
from service.batches.desk import Desk
from service.catalog import Catalog
from service.engine.loop import Engine
from service.engine.rows import RowRunner
from service.engine.width import TokenSession, Width
from service.keys import Keys
from service.loading import load_model
from service.metrics import Metrics
from service.model import LoadedModel
from service.settings import Settings
from service.tracing import TracedEngine, Tracing
from tests.toys import directories

LIMITS: dict[str, Any] = {
    "max_body_bytes": 200_000,
    "max_images": 40,
    "max_pixels": 64 * 64,
    "max_rows": 100,
    "max_tokens": 500,
    "max_prompts": 8,
    "max_text_characters": 2000,
    "prefill_chunk": 8,
    "default_score": directories.DENSITY,
}


class Gate:
    """Holds every graph back while it is closed, and tells when one has come to it."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()
        self.reached = threading.Event()

    def close(self) -> None:
        self.reached.clear()
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    def wait(self) -> None:
        self.reached.set()
        assert self._open.wait(30), "a test left the gate closed"


class GatedSession:
    """An inference session behind a gate."""

    def __init__(self, session: Any, gate: Gate) -> None:
        self._session = session
        self._gate = gate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run_with_iobinding(self, binding: Any) -> None:
        self._gate.wait()
        self._session.run_with_iobinding(binding)


class Api:
    """The application with an engine of its own. Close it after use.

    Jobs are run on the event loop, which a closed gate would hold, only where they are shorter than `here_seconds`.
    """

    def __init__(
        self, store: Path, tracing: Tracing | None = None, *, here_seconds: float = 0.0, **settings: Any
    ) -> None:
        self.gate = Gate()
        self.settings = Settings(**{"models": store, "provider": "cpu", "workers": 2, **LIMITS, **settings})
        self.metrics = Metrics()
        self.catalog = Catalog(self.settings, "cpu", self._load, self.metrics.entry_changed)
        self.engine = Engine(
            self.settings.workers,
            replace(
                self.settings.limits, **dict.fromkeys(("here_seconds", "alone_seconds", "turn_seconds"), here_seconds)
            ),
            queue_seconds=self.settings.queue_seconds,
            queue_requests=self.settings.queue_requests,
            hang_seconds=self.settings.hang_seconds,
            shares=self.settings.shares,
            observer=TracedEngine(tracing, self.metrics) if tracing else self.metrics,
            on_hang=self.catalog.refuse,
        )
        self.catalog.refresh(settled=True)
        self.app = Application(self.metrics)
        keys = Keys(self.settings.keys_file) if self.settings.keys_file else None
        self.desk = None
        if self.settings.batch_dir is not None:
            self.desk = Desk(self.settings.batch_dir, self.settings, self.app, self.metrics, self.engine.calm, keys)
        self.app.state.service = State(self.settings, self.engine, self.catalog, self.metrics, keys, tracing, self.desk)
        self.engine.start()
        self._runner = asyncio.Runner()
        if self.desk is not None:
            self._runner.get_loop().call_soon(self.desk.start)
        transport = httpx.ASGITransport(self.app)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://amostra", timeout=30)

    def _load(self, directory: Path, settings: Settings, device: str) -> LoadedModel:
        model = load_model(directory, settings, device)
        for runner in model.runners.values():
            if isinstance(runner, RowRunner):
                runner._session = GatedSession(runner._session, self.gate)  # type: ignore[assignment]
                runner._width = Width(runner._session, None)
                continue
            for graph in (part._graph for part in runner.parts):
                graph.session = GatedSession(graph.session, self.gate)  # type: ignore[assignment]
                # A second session would go round the gate.
                graph._computing = TokenSession(graph.session, None, graph._blanks)
        return model

    def close(self) -> None:
        self.gate.open()
        if self.desk is not None:
            self.desk.close()
        self.run(self._client.aclose())
        self._runner.close()
        self.engine.stop()

    def run(self, coroutine: Coroutine) -> Any:
        return self._runner.run(coroutine)

    async def send(self, method: str, path: str, **request: Any) -> httpx.Response:
        return await self._client.request(method, path, **request)

    def get(self, path: str, **request: Any) -> httpx.Response:
        return self.run(self.send("GET", path, **request))

    def post(self, path: str, **request: Any) -> httpx.Response:
        return self.run(self.send("POST", path, **request))

    def together(self, requests: Sequence[dict[str, Any]]) -> list[httpx.Response]:
        """Send all at the same time; each is the arguments of `send`."""

        async def everything() -> list[httpx.Response]:
            return await asyncio.gather(*(self.send(**request) for request in requests))

        return self.run(everything())

    def converse(self, talk: Callable[["Conversation"], Awaitable[Any]], method: str, path: str, body: Any) -> Any:
        """Speak ASGI with the application by hand: for clients that leave."""

        async def held() -> Any:
            conversation = Conversation()
            content = orjson.dumps(body)
            await conversation.inbox.put({"type": "http.request", "body": content, "more_body": False})
            scope = conversation.scope(method, path, [(b"content-type", b"application/json")])
            conversation.task = asyncio.create_task(
                self.app(scope, conversation.inbox.get, conversation.send)  # type: ignore[arg-type]
            )
            return await asyncio.wait_for(talk(conversation), 20)

        return self.run(held())

    async def idle(self) -> None:
        """Wait until the engine has nothing left to do."""
        async with asyncio.timeout(10):
            while self.engine.live:
                await asyncio.sleep(0.005)


@dataclass
class Conversation:
    """What a server and an application say to each other about one request."""

    inbox: asyncio.Queue = field(default_factory=asyncio.Queue)
    outbox: asyncio.Queue = field(default_factory=asyncio.Queue)
    task: asyncio.Task | None = None
    spec_version: str = "2.3"

    def scope(self, method: str, path: str, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": self.spec_version},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("amostra", 80),
        }

    async def send(self, message: Any) -> None:
        await self.outbox.put(message)

    async def leave(self) -> None:
        """The client is gone; wait until the application has noticed."""
        await self.inbox.put({"type": "http.disconnect"})
        assert self.task is not None
        await asyncio.wait([self.task])


def png(image: np.ndarray, kind: str = "PNG") -> bytes:
    """A grey picture file of an image (1, H, W) in [0, 1]."""
    stream = io.BytesIO()
    Image.fromarray(np.rint(image[0] * 255).astype(np.uint8)).save(stream, kind)
    return stream.getvalue()


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def read_npy(response: httpx.Response) -> np.ndarray:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-npy"
    return np.load(io.BytesIO(response.content), allow_pickle=False)


def read_png(blob: bytes) -> np.ndarray:
    """Pixels (H, W) or (H, W, C) uint8."""
    picture = Image.open(io.BytesIO(blob))
    assert picture.format == "PNG"
    return np.asarray(picture)


def b64(blob: bytes) -> str:
    return base64.b64encode(blob).decode()


def unb64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def events(response: httpx.Response) -> list[dict[str, Any]]:
    """The server-sent events of a whole stream, which must end in [DONE]."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in response.text.split("\n\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    return [orjson.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def said(answer: httpx.Response) -> Any:
    """The whole answer, but for what tells requests apart."""
    assert answer.status_code == 200, answer.text
    kind = answer.headers["content-type"]
    if kind == "application/json":
        return {k: v for k, v in answer.json().items() if k not in ("id", "created")}
    if kind.startswith("text/event-stream"):
        return [event["choices"] for event in events(answer)]
    return answer.content
