"""The application over toy models behind a socket, and both clients asking it."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import uvicorn

from amostra import AsyncClient, Client
from tests.service.api.client import Api
from tests.toys import directories

Ask = Callable[..., Any]


@dataclass(frozen=True)
class Live:
    """Where it listens, and what is behind it."""

    url: str
    api: Api


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("live")
    api = Api(directories.write_store(folder / "store"), batch_dir=folder / "batches")
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(api.app, lifespan="off", log_level="warning"))  # type: ignore[arg-type]
        thread = threading.Thread(target=lambda: api.run(server.serve(sockets=[listening])), daemon=True)
        thread.start()
        yield Live(f"http://127.0.0.1:{port}", api)
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive(), "the server has not stopped"
    api.close()


@pytest.fixture
def client(live: Live) -> Iterator[Client]:
    with Client(live.url, retries=0) as client:
        yield client


@pytest.fixture(params=["Client", "AsyncClient"])
def ask(request: pytest.FixtureRequest, live: Live) -> Ask:
    """Call a method by its name, by the one client or the other; of a stream all pieces are returned."""

    def by_client(name: str, *args: Any, **kwargs: Any) -> Any:
        with Client(live.url, retries=0) as client:
            found = getattr(client, name)(*args, **kwargs)
            return list(found) if name.endswith("_stream") else found

    def by_async_client(name: str, *args: Any, **kwargs: Any) -> Any:
        async def talk() -> Any:
            async with AsyncClient(live.url, retries=0) as client:
                found = getattr(client, name)(*args, **kwargs)
                return [piece async for piece in found] if name.endswith("_stream") else await found

        return asyncio.run(talk())

    return by_client if request.param == "Client" else by_async_client
