"""Models that were unloaded: a request for one waits until it is loaded again, and nobody else does."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from service.loading import load_model
from tests.service.api.client import Api
from tests.toys import directories

SCORE = "/v1/score"
ONE, TWO, THREE = "toy-one", "toy-two", "toy-three"
ROW = [[0.1, 0.2, 0.3]]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Three models of which two fit into 1 MiB."""
    for name in (ONE, TWO, THREE):
        directory = directories.write_table(tmp_path, name)
        with open(directory / "notes.bin", "wb") as file:
            file.truncate(150_000)
    return tmp_path


@pytest.fixture
def api(make_api: Callable[..., Api]) -> Api:
    return make_api(memory_mb=1)


def state_of(api: Api, name: str) -> str:
    listed = api.get("/v1/models", params={"state": "all"}).json()["data"]
    return next(model["state"] for model in listed if model["id"] == name)


def test_an_unloaded_model_is_listed_with_all_that_it_can(api: Api) -> None:
    listed = {model["id"]: model for model in api.get("/v1/models").json()["data"]}
    assert {name: model["state"] for name, model in listed.items()} == {ONE: "ready", TWO: "unloaded", THREE: "ready"}
    for said in ("tasks", "capabilities", "providers", "family", "description"):
        assert listed[TWO][said]
        if said != "description":
            assert listed[TWO][said] == listed[ONE][said]
    assert api.get(f"/v1/models/{TWO}").json()["manifest"]["name"] == TWO


def test_a_request_waits_for_it_and_it_takes_the_place_of_the_one_used_longest_ago(api: Api) -> None:
    for name in (ONE, THREE, TWO):
        answer = api.post(SCORE, json={"model": name, "inputs": ROW})
        assert (answer.status_code, answer.json()["model"]) == (200, name)
    assert [state_of(api, name) for name in (ONE, TWO, THREE)] == ["unloaded", "ready", "ready"]
    value = api.metrics.registry.get_sample_value
    for state, is_so in (("unloaded", 1), ("ready", 0)):
        labels = {"model": ONE, "version": "1", "state": state}
        assert value("amostra_model_state", labels) == is_so
    assert value("amostra_model_memory_bytes", {"model": ONE, "version": "1"}) == 0
    assert 2**20 > (value("amostra_model_memory_bytes", {"model": TWO, "version": "1"}) or 0) > 2**20 / 3


def test_a_job_under_way_ends_with_the_model_that_it_began_with(api: Api) -> None:
    api.gate.close()

    async def talk() -> list[int]:
        first = asyncio.create_task(api.send("POST", SCORE, json={"model": ONE, "inputs": ROW}))
        await asyncio.to_thread(api.gate.reached.wait, 10)
        for name in (THREE, TWO):
            await asyncio.wrap_future(api.catalog.reload(api.catalog.find(name)))
        assert api.catalog.find(ONE).model is None
        api.gate.open()
        return [(await first).status_code]

    assert api.run(talk()) == [200]
    assert api.post(SCORE, json={"model": ONE, "inputs": ROW}).status_code == 200


def test_many_requests_share_one_load_while_others_are_answered(api: Api) -> None:
    loads: list[str] = []
    api.run(load_slowly(api, loads))
    assert loads == [TWO]


async def load_slowly(api: Api, loads: list[str]) -> None:
    loop, go = asyncio.get_running_loop(), asyncio.Event()

    def load(directory: Path, *rest):
        loads.append(directory.parent.name)
        asyncio.run_coroutine_threadsafe(asyncio.wait_for(go.wait(), 10), loop).result()
        return load_model(directory, *rest)

    api.catalog._load = load
    waiting = [asyncio.create_task(api.send("POST", SCORE, json={"model": TWO, "inputs": ROW})) for _ in range(20)]
    leaves = waiting.pop()
    while not loads:
        await asyncio.sleep(0.001)
    leaves.cancel()
    assert (await api.send("POST", SCORE, json={"model": THREE, "inputs": ROW})).status_code == 200
    assert not any(task.done() for task in waiting)
    go.set()
    assert [(await task).status_code for task in waiting] == [200] * 19


def test_a_load_that_takes_too_long_ends_in_an_error_that_says_so(make_api: Callable[..., Api]) -> None:
    api = make_api(memory_mb=1, request_timeout_seconds=0.05)
    loaded = api.catalog._load

    def load(*arguments):
        api.gate.wait()
        return loaded(*arguments)

    api.catalog._load = load
    api.gate.close()
    answer = api.post(SCORE, json={"model": TWO, "inputs": ROW})
    api.gate.open()
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert f"model {TWO} was not loaded" in answer.json()["detail"]


def test_the_same_content_says_the_same_after_it_was_unloaded(make_api: Callable[..., Api]) -> None:
    api = make_api(memory_mb=1, result_cache_mb=1)
    answers = [api.post(SCORE, json={"model": name, "inputs": ROW}) for name in (ONE, TWO, THREE, ONE)]
    assert [a.headers["x-amostra-cache"] for a in answers] == ["miss", "miss", "miss", "hit"]
    assert answers[0].json() == answers[3].json()
