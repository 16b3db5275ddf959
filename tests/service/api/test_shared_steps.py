"""Walks of any steps, samplers, guidance and seeds go on in the same batches, step by step."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.engine.batch import Batch
from service.engine.pace import Pace
from tests.service.api.client import Api, said
from tests.toys.directories import DIFFUSION

WALKS = [
    (sampler, steps, guidance)
    for sampler, steps in (("euler", 19), ("dpmpp_2m", 12), ("heun", 8), ("ancestral", 5))
    for guidance in (1.0, 2.0)
]
SHORTEST = 5
"""Evaluations of the network; Heun's method has 2 × 8 - 1."""
DRAWN = [
    {
        "method": "POST",
        "path": "/v1/images/generations",
        "json": {
            **{"model": DIFFUSION, "sampler": sampler, "steps": steps, "guidance": guidance},
            **{"seed": seed, "label": seed, "response_format": "npy"},
        },
    }
    for seed, (sampler, steps, guidance) in enumerate(WALKS)
]


@pytest.fixture
def api(store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    # Rates of a graph this small are noise: by them batches would be made smaller now and then.
    monkeypatch.setattr(Pace, "batch_ran", lambda *_, **__: None)
    api = Api(store, workers=1)
    yield api
    api.close()


@pytest.fixture
def batches(api: Api, monkeypatch: pytest.MonkeyPatch) -> list[Batch]:
    """All that ran."""
    found: list[Batch] = []
    settle = api.engine._settling.settle

    def watched(batch: Batch, *what: Any) -> None:
        found.append(batch)
        settle(batch, *what)

    monkeypatch.setattr(api.engine._settling, "settle", watched)
    return found


def test_every_step_is_shared_by_all_that_are_under_way(api: Api, batches: list[Batch]) -> None:
    alone = [said(api.together([request])[0]) for request in DRAWN]
    evaluations = len(batches)
    batches.clear()
    assert [said(answer) for answer in api.together(DRAWN)] == alone
    assert len(batches) < evaluations / 3
    everybody = [batch.rows for batch in batches if len(batch.works) == len(DRAWN)]
    # Guidance doubles the rows of those who ask for it.
    assert everybody == [4 * 1 + 4 * 2] * SHORTEST
