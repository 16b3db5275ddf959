"""A request's own deadline and priority."""

import asyncio
import time
from collections.abc import Callable

import httpx
import pytest

from service.api.terms import PRIORITY, TIMEOUT
from tests.service.api.client import Api

GENERATE, COMPLETE = "/v1/images/generations", "/v1/completions"


def test_a_deadline_of_its_own_is_kept(make_api: Callable[..., Api]) -> None:
    api = make_api()
    api.gate.close()
    start = time.monotonic()
    answer = api.post(GENERATE, json={}, headers={TIMEOUT: "0.2"})
    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "deadline_exceeded"
    assert "0.2 s" in answer.json()["detail"]
    assert 0.15 < time.monotonic() - start < 5
    api.gate.open()
    api.run(api.idle())
    assert api.post(GENERATE, json={}, headers={TIMEOUT: "20"}).status_code == 200


def test_it_cannot_be_longer_than_the_services_own(make_api: Callable[..., Api]) -> None:
    api = make_api(request_timeout_seconds=0.1)
    api.gate.close()
    assert api.post(GENERATE, json={}, headers={TIMEOUT: "60"}).status_code == 504
    api.gate.open()
    api.run(api.idle())


def test_one_that_cannot_be_met_is_refused_at_once(make_api: Callable[..., Api]) -> None:
    """The pace is known from requests before; work of many seconds stands before this one."""
    api = make_api(queue_seconds=10_000)
    for seed in range(5):
        api.post(COMPLETE, json={"max_tokens": 20, "seed": seed})
    api.gate.close()

    async def talk() -> tuple[httpx.Response, float, list[httpx.Response]]:
        before = [
            asyncio.create_task(api.send("POST", COMPLETE, json={"max_tokens": 30, "n": 4, "seed": i}))
            for i in range(10)
        ]
        while api.engine.live < 40:
            await asyncio.sleep(0.005)
        start = time.monotonic()
        answer = await api.send("POST", COMPLETE, json={}, headers={TIMEOUT: "0.001"})
        seconds = time.monotonic() - start
        api.gate.open()
        return answer, seconds, [await task for task in before]

    refused, seconds, served = api.run(talk())
    assert refused.status_code == 504
    assert refused.json()["error"]["param"] == TIMEOUT
    assert "cannot be met" in refused.json()["detail"]
    assert seconds < 1
    assert {answer.status_code for answer in served} == {200}


def test_background_requests_wait_for_interactive_ones(make_api: Callable[..., Api]) -> None:
    api = make_api(workers=1, max_batch_rows=1)
    order: list[str] = []

    async def ask(name: str, **headers: str) -> None:
        answer = await api.send("POST", GENERATE, json={"seed": 1}, headers=headers)
        assert answer.status_code == 200
        order.append(name)

    async def talk() -> None:
        first = asyncio.create_task(ask("first"))
        while not api.gate.reached.is_set():
            await asyncio.sleep(0.005)
        patient = [asyncio.create_task(ask("background", **{PRIORITY: "background"})) for _ in range(5)]
        while api.engine.live < 6:
            await asyncio.sleep(0.005)
        others = [asyncio.create_task(ask("interactive")) for _ in range(5)]
        while api.engine.live < 11:
            await asyncio.sleep(0.005)
        api.gate.open()
        await asyncio.gather(first, *patient, *others)

    api.gate.close()
    api.run(talk())
    assert order == ["first", *["interactive"] * 5, *["background"] * 5]


@pytest.mark.parametrize(
    ("header", "value"),
    [(TIMEOUT, "soon"), (TIMEOUT, "0"), (TIMEOUT, "-1"), (TIMEOUT, "nan"), (TIMEOUT, "inf"), (PRIORITY, "urgent")],
)
def test_what_means_nothing_is_refused(api: Api, header: str, value: str) -> None:
    answer = api.post(GENERATE, json={}, headers={header: value})
    assert answer.status_code == 422
    assert answer.json()["error"]["param"] == header
    assert value in answer.json()["detail"]
