"""What a client sees of a graph that hangs, and of one whose numbers are none."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service.engine.batch import Batch
from tests.eventually import eventually
from tests.service.api.client import Api
from tests.service.api.test_errors import assert_envelope
from tests.toys import directories
from tests.toys.hanging import ENDLESS, HANGS, NOT_FINITE, STUCK, write_hanging

GENERATE = "/v1/images/generations"
SECONDS = 0.3


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Api]]:
    """Makes the application with a generator that can hang beside a sound one."""
    made: list[Api] = []

    def begin(here_seconds: float = 0.0, **graph: bool) -> Api:
        directories.write_generator(tmp_path)
        write_hanging(tmp_path, **graph)
        made.append(Api(tmp_path, here_seconds=here_seconds, hang_seconds=SECONDS))
        return made[-1]

    yield begin
    for api in made:
        api.close()


def state(api: Api, name: str) -> str:
    listed = api.get("/v1/models", params={"state": "all"}).json()["data"]
    return next(model["state"] for model in listed if model["id"] == name)


@pytest.mark.parametrize("stuck", [False, True], ids=["a loop without end", "a node that takes long"])
def test_a_graph_that_hangs_is_500_and_its_model_is_refused(start: Callable[..., Api], stuck: bool) -> None:
    api = start(stuck=stuck)
    name = STUCK if stuck else ENDLESS
    assert api.post(GENERATE, json={"model": name, "label": 1}).status_code == 200

    async def both() -> tuple:
        hanging = api.send("POST", GENERATE, json={"model": name, "label": HANGS})
        other = api.send("POST", GENERATE, json={"n": 3})
        return await asyncio.gather(hanging, other)

    bad, good = api.run(both())
    assert f"model {name} hung" in assert_envelope(bad, 500, code="model_failed")
    assert good.status_code == 200
    eventually(lambda: state(api, name) == "refused")
    detail = assert_envelope(api.post(GENERATE, json={"model": name, "label": 1}), 503, "model")
    assert "hung: a batch of" in detail
    assert api.post(GENERATE, json={"seed": 1}).status_code == 200
    eventually(lambda: api.engine.lost == 0, 60)


def test_a_graph_that_was_fast_and_then_hangs_gives_the_event_loop_back(
    start: Callable[..., Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short batches are run on the thread that all requests come in on."""
    api = start(here_seconds=10.0)
    threads: list[str] = []
    settle = api.engine._settling.settle

    def watched(batch: Batch, *what: Any) -> None:
        threads.append(threading.current_thread().name)
        settle(batch, *what)

    monkeypatch.setattr(api.engine._settling, "settle", watched)
    for _ in range(3):
        assert api.post(GENERATE, json={"model": ENDLESS, "label": 1}).status_code == 200
    begun = time.monotonic()
    detail = assert_envelope(api.post(GENERATE, json={"model": ENDLESS, "label": HANGS}), 500, code="model_failed")
    assert f"model {ENDLESS} hung" in detail
    assert time.monotonic() - begun < 10 * SECONDS
    assert threads[-1] == threading.current_thread().name, "it hung here, not on a worker"
    assert api.post(GENERATE, json={"seed": 1}).status_code == 200
    eventually(lambda: state(api, ENDLESS) == "refused")
    assert_envelope(api.post(GENERATE, json={"model": ENDLESS, "label": 1}), 503, "model")
    assert api.engine.lost == 0


def test_a_directory_that_changes_is_given_another_chance(start: Callable[..., Api], tmp_path: Path) -> None:
    api = start()
    assert api.post(GENERATE, json={"model": ENDLESS, "label": HANGS}).status_code == 500
    eventually(lambda: state(api, ENDLESS) == "refused")
    api.catalog.refresh()
    assert state(api, ENDLESS) == "refused", "it lies there as before"
    manifest = next((tmp_path / ENDLESS).glob("*/manifest.json"))
    manifest.write_text(manifest.read_text() + "\n")
    api.catalog.refresh()
    api.catalog.refresh()
    assert api.post(GENERATE, json={"model": ENDLESS, "label": 1}).status_code == 200


def test_a_graph_that_hangs_at_its_first_run_is_refused_and_the_others_are_loaded(start: Callable[..., Api]) -> None:
    api = start(everywhere=True)
    assert state(api, ENDLESS) == "refused"
    detail = assert_envelope(api.post(GENERATE, json={"model": ENDLESS}), 503, "model")
    assert f"runs on a blank input within {SECONDS:g} s" in detail
    assert api.post(GENERATE, json={}).status_code == 200


def test_numbers_that_are_none_fail_their_own_request_only(start: Callable[..., Api]) -> None:
    api = start()

    def ask(label: int) -> dict:
        return {"method": "POST", "path": GENERATE, "json": {"model": ENDLESS, "label": label, "seed": 5}}

    alone = {label: api.run(api.send(**ask(label))).json()["data"] for label in (1, 2)}
    labels = [1, NOT_FINITE, 2, NOT_FINITE, 1, 2, 1, 2]
    before = batches(api)

    async def at_once() -> list:
        api.gate.close()
        asyncio.get_running_loop().call_later(0.2, api.gate.open)
        return await asyncio.gather(*(api.send(**ask(label)) for label in labels))

    answers = api.run(at_once())
    assert batches(api) - before < len(labels), "some shared a batch"
    for label, answer in zip(labels, answers, strict=True):
        if label == NOT_FINITE:
            assert "no numbers" in assert_envelope(answer, 500, code="model_failed")
        else:
            assert answer.json()["data"] == alone[label]


def batches(api: Api) -> float:
    labels = {"model": ENDLESS, "capability": "decode"}
    return api.metrics.registry.get_sample_value("amostra_batch_rows_count", labels) or 0.0
