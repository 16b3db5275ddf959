"""A client that leaves takes its work with it, whenever it leaves and however it was being answered."""

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from tests.service.api.client import Api, Conversation, b64, npy
from tests.toys import directories
from tests.toys.directories import DIFFUSION, normal_images

STREAM = ("/v1/completions", {"prompt": "To be", "max_tokens": 500, "stream": True, "n": 3})
WHOLE = {
    "images": ("/v1/images/generations", {"n": 3}),
    "images in steps": ("/v1/images/generations", {"model": DIFFUSION, "n": 3}),
    "an edit": (
        "/v1/images/edits",
        {"image": b64(npy(normal_images(1, seed=0))), "mask": b64(npy(np.ones((8, 8)))), "n": 2},
    ),
    "a larger image": ("/v1/images/restore", {"image": b64(npy(normal_images(1, seed=0)))}),
    "rows": ("/v1/rows/generations", {"n": 3}),
    "a clean image": ("/v1/images/denoise", {"image": b64(npy(normal_images(2, seed=0)))}),
    "scores": ("/v1/score", {"input": ["To be", "or not"]}),
    "embeddings": ("/v1/embeddings", {"input": ["To be", "or not"]}),
    "text": ("/v1/completions", {"prompt": "To be", "max_tokens": 500, "n": 3}),
}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An application whose gate may be closed and whose engine nobody else uses."""
    api = Api(directories.write_store(tmp_path_factory.mktemp("disconnect")))
    yield api
    api.close()


@pytest.fixture
def api(own: Api, caplog: pytest.LogCaptureFixture) -> Iterator[Api]:
    yield own
    own.gate.open()
    own.run(own.idle())
    assert own.app.state.service.held.bytes == 0
    own.run(asyncio.sleep(0))
    gc.collect()
    complaints = [r.getMessage() for phase in ("call", "teardown") for r in caplog.get_records(phase)]
    assert complaints == [], "a client that leaves is nothing to complain about"


async def reached(api: Api) -> None:
    """Wait until a graph is about to run."""
    await asyncio.to_thread(api.gate.reached.wait, 10)
    assert api.engine.live


def cancelled(api: Api, route: str) -> float:
    return api.metrics.registry.get_sample_value("amostra_cancelled_requests_total", {"route": route}) or 0.0


@pytest.mark.parametrize("case", WHOLE)
def test_while_its_graph_runs(api: Api, case: str) -> None:
    path, body = WHOLE[case]
    before = cancelled(api, path)
    api.gate.close()

    async def talk(conversation: Conversation) -> None:
        await reached(api)
        await conversation.leave()
        assert conversation.outbox.empty(), "nobody is there to be answered"
        api.gate.open()
        await api.idle()

    api.converse(talk, "POST", path, body)
    assert cancelled(api, path) == before + 1


@pytest.mark.parametrize("case", WHOLE)
def test_while_it_waits_behind_others(api: Api, case: str) -> None:
    path, body = WHOLE[case]
    api.gate.close()

    async def talk(conversation: Conversation) -> None:
        others = [asyncio.create_task(api.send("POST", *STREAM[:1], json={"max_tokens": 20})) for _ in range(4)]
        await reached(api)
        await conversation.leave()
        api.gate.open()
        assert [(await other).status_code for other in others] == [200] * 4
        await api.idle()

    api.converse(talk, "POST", path, body)


def test_in_the_middle_of_a_stream(api: Api) -> None:
    async def talk(conversation: Conversation) -> None:
        start = await conversation.outbox.get()
        assert start["status"] == 200
        for _ in range(5):
            assert (await conversation.outbox.get())["body"].startswith(b"data: ")
        assert api.engine.live
        await conversation.leave()
        await api.idle()

    before = cancelled(api, STREAM[0])
    tokens = tokens_generated(api)
    api.converse(talk, "POST", *STREAM)
    assert cancelled(api, STREAM[0]) == before + 1
    assert tokens_generated(api) - tokens < 3 * 500


def tokens_generated(api: Api) -> float:
    return api.metrics.registry.get_sample_value("amostra_tokens_generated_total", {"model": directories.WRITER}) or 0.0


def test_before_the_first_event_of_a_stream(api: Api) -> None:
    api.gate.close()

    async def talk(conversation: Conversation) -> None:
        await reached(api)
        await conversation.leave()
        api.gate.open()
        await api.idle()

    tokens = tokens_generated(api)
    api.converse(talk, "POST", *STREAM)
    assert tokens_generated(api) - tokens <= 1, "what was being computed when it left is finished, and no more"


@pytest.mark.parametrize(("path", "body"), [STREAM, *WHOLE.values()])
def test_before_the_answer_was_begun(api: Api, path: str, body: dict[str, Any]) -> None:
    """The message that it left is there as soon as the body was read."""
    api.gate.close()

    async def talk(conversation: Conversation) -> None:
        await conversation.leave()
        api.gate.open()
        await api.idle()

    tokens = tokens_generated(api)
    api.converse(talk, "POST", path, body)
    assert tokens_generated(api) - tokens <= 1, "what was being computed when it left is finished, and no more"


@pytest.mark.parametrize("messages", [0, 1, 4], ids=["at the head", "at the first event", "in the middle"])
def test_where_the_server_tells_by_refusing_to_send(api: Api, messages: int) -> None:
    """ASGI 2.4: a send to a client that left raises OSError."""
    sent = 0

    async def send(message: Any) -> None:
        nonlocal sent
        if sent == messages:
            raise OSError("the client is gone")
        sent += 1

    async def talk(conversation: Conversation) -> None:
        scope = conversation.scope("POST", STREAM[0], [(b"content-type", b"application/json")])
        scope["asgi"]["spec_version"] = "2.4"
        inbox: asyncio.Queue = asyncio.Queue()
        await inbox.put({"type": "http.request", "body": b'{"max_tokens": 500, "stream": true}', "more_body": False})
        await api.app(scope, inbox.get, send)
        await api.idle()

    tokens = tokens_generated(api)
    api.run(talk(Conversation()))
    assert tokens_generated(api) - tokens < 400


def test_while_it_sends_its_body(api: Api) -> None:
    async def talk(conversation: Conversation) -> None:
        scope = conversation.scope("POST", "/v1/images/generations", [(b"content-type", b"application/json")])
        inbox: asyncio.Queue = asyncio.Queue()
        await inbox.put({"type": "http.request", "body": b'{"n"', "more_body": True})
        await inbox.put({"type": "http.disconnect"})
        await api.app(scope, inbox.get, conversation.send)
        assert conversation.outbox.empty()

    api.run(talk(Conversation()))
    assert api.engine.live == 0


def test_batch_mates_do_not_notice(api: Api) -> None:
    ask = {"prompt": "To be", "max_tokens": 80, "seed": 4}
    alone = api.post("/v1/completions", json=ask).json()["choices"]

    async def talk(conversation: Conversation) -> list[httpx.Response]:
        mates = [asyncio.create_task(api.send("POST", "/v1/completions", json=ask)) for _ in range(3)]
        await conversation.outbox.get()
        await conversation.outbox.get()
        await conversation.leave()
        return [await mate for mate in mates]

    for mate in api.converse(talk, "POST", *STREAM):
        assert mate.json()["choices"] == alone


def test_a_server_that_cancels_the_request_cancels_its_work(api: Api) -> None:
    api.gate.close()

    async def talk() -> None:
        tasks = [asyncio.create_task(api.send("POST", path, json=body)) for path, body in [STREAM, *WHOLE.values()]]
        await reached(api)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        api.gate.open()
        await api.idle()

    api.run(talk())
