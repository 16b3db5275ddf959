"""A crowd of short requests: the event loop runs their batches itself, and nobody can tell."""

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.engine.batch import Batch
from tests.service.api.client import Api, npy, said
from tests.toys.directories import DENOISER, normal_images

NPY = {"content-type": "application/x-npy", "accept": "application/x-npy"}


@pytest.fixture
def api(store: Path) -> Iterator[Api]:
    api = Api(store, here_seconds=10.0)
    yield api
    api.close()


@pytest.fixture
def threads(api: Api, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many rows ran on which thread."""
    found: Counter[str] = Counter()
    settle = api.engine._settling.settle

    def watched(batch: Batch, *what: Any) -> None:
        found[threading.current_thread().name] += batch.rows
        settle(batch, *what)

    monkeypatch.setattr(api.engine._settling, "settle", watched)
    return found


def requests(count: int) -> list[dict[str, Any]]:
    """Drawings and denoisings, in turn."""
    images = normal_images(count, seed=0)
    draw = {"method": "POST", "path": "/v1/images/generations"}
    denoise = {"method": "POST", "path": f"/v1/images/denoise?model={DENOISER}", "headers": NPY}
    return [
        {**draw, "json": {"seed": i, "label": i % 2}} if i % 2 else {**denoise, "content": npy(images[i])}
        for i in range(count)
    ]


def test_answers_are_those_of_requests_that_are_alone(api: Api, threads: Counter[str]) -> None:
    asked = requests(48)
    alone = [said(api.run(api.send(**request))) for request in asked]
    for _ in range(5):
        assert [said(answer) for answer in api.together(asked)] == alone
    assert api.engine.live == 0
    assert threads[threading.current_thread().name] >= 5 * len(asked), "on the event loop's own thread"


def test_what_is_wrong_in_a_crowd_fails_alone(api: Api) -> None:
    good = requests(16)
    images = np.full((1, 8, 8), np.nan, np.float32)
    bad = [
        {**good[0], "content": npy(images)},
        {**good[1], "json": {"label": 99}},
        {**good[0], "path": "/v1/images/denoise?model=nobody"},
    ]
    for _ in range(3):
        answers = api.together([*good, *bad])
        assert [answer.status_code for answer in answers] == [200] * 16 + [422, 422, 404]


def test_a_full_queue_refuses_within_one_turn(store: Path) -> None:
    """Jobs are counted in as they come, not when the turn is over."""
    api = Api(store, here_seconds=10.0, queue_requests=5)
    try:
        statuses = Counter(answer.status_code for answer in api.together(requests(32)))
        assert statuses == {200: 5, 429: 27}
        assert api.engine.live == 0
    finally:
        api.close()
