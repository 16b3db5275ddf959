"""What a request leaves behind: nothing that would wait for the garbage collector, which looks seldom and late.

A request that is part of a circle of references keeps its body, its arrays and its connection.
"""

import asyncio
import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.requests import Request

from service.api.waiting import Pending
from tests.service.api.client import Api, Conversation

DRAW = ("POST", "/v1/images/generations")
WRITE = ("POST", "/v1/completions")


@pytest.fixture(autouse=True)
def uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def circles() -> list[Any]:
    """Requests, and what waits for their jobs, that nobody but the garbage collector would let go of."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    gc.set_debug(0)
    found = [one for one in gc.garbage if isinstance(one, Request | Pending)]
    gc.garbage.clear()
    return found


async def after_a_while(api: Api) -> None:
    await asyncio.to_thread(api.gate.reached.wait, 10)
    await asyncio.sleep(0.1)  # it is looked after by now
    api.gate.open()


async def answered(conversation: Conversation) -> int:
    """The status of the answer, read to its end."""
    status = (await conversation.outbox.get())["status"]
    while (await conversation.outbox.get()).get("more_body"):
        pass
    assert conversation.task is not None
    await conversation.task
    return status


@pytest.mark.parametrize(
    ("status", "asked"),
    [
        (200, (*DRAW, {"n": 2})),
        (200, (*WRITE, {"max_tokens": 8})),
        (200, (*WRITE, {"max_tokens": 8, "stream": True})),
        (422, (*DRAW, {"n": -1})),
        (404, (*DRAW, {"model": "no-such"})),
        (404, ("GET", "/v1/models/no-such", None)),
        (405, ("GET", "/v1/completions", None)),
    ],
    ids=str,
)
def test_after_an_answer(make_api: Callable[..., Api], status: int, asked: tuple[str, str, Any]) -> None:
    api = make_api()
    assert api.converse(answered, *asked) == status
    assert circles() == []


def test_after_a_long_wait(make_api: Callable[..., Api]) -> None:
    api = make_api()
    api.gate.close()

    async def talk(conversation: Conversation) -> int:
        await after_a_while(api)
        return await answered(conversation)

    assert api.converse(talk, *DRAW, {"n": 2}) == 200
    assert circles() == []


@pytest.mark.parametrize("asked", [(*DRAW, {"n": 2}), (*WRITE, {"max_tokens": 400, "stream": True})], ids=str)
def test_after_a_client_that_left(make_api: Callable[..., Api], asked: tuple[str, str, Any]) -> None:
    api = make_api()
    api.gate.close()

    async def talk(conversation: Conversation) -> None:
        await asyncio.to_thread(api.gate.reached.wait, 10)
        await asyncio.sleep(0.1)
        await conversation.leave()
        api.gate.open()
        await api.idle()

    api.converse(talk, *asked)
    assert circles() == []


def test_after_a_deadline(make_api: Callable[..., Api]) -> None:
    api = make_api(request_timeout_seconds=0.2)
    api.gate.close()

    async def talk(conversation: Conversation) -> int:
        status = await answered(conversation)
        api.gate.open()
        await api.idle()
        return status

    assert api.converse(talk, *DRAW, {"n": 2}) == 504
    assert circles() == []


def test_after_a_refusal(make_api: Callable[..., Api]) -> None:
    api = make_api(queue_requests=1)
    api.gate.close()

    async def talk(conversation: Conversation) -> int:
        await asyncio.to_thread(api.gate.reached.wait, 10)
        response = await api.send(*DRAW, json={"n": 1})
        api.gate.open()
        await answered(conversation)
        return response.status_code

    assert api.converse(talk, *DRAW, {"n": 2}) == 429
    assert circles() == []
