"""Files and batches, from the requests to their results."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from amostra import AsyncClient, Client, Invalid, NotFound
from amostra.batches import requests, results
from tests.amostra.conftest import Ask, Live
from tests.eventually import eventually
from tests.toys.directories import DIFFUSION

SCORE, COMPLETE = "/v1/score", "/v1/completions"


def test_a_batch_answers_as_the_calls_do(client: Client) -> None:
    rows = {f"row {i}": {"model": "toy-table", "inputs": np.full((1, 3), i)} for i in range(3)}
    file = client.upload(requests(SCORE, {**rows, "wrong": {"model": "none"}}), name="mine.jsonl")
    assert (file.filename, file.purpose) == ("mine.jsonl", "batch")
    begun = client.create_batch(file.id, SCORE, metadata={"night": "1"})
    assert begun.input_file_id == file.id
    eventually(lambda: client.batch(begun.id).ended, seconds=30)
    done = client.batch(begun.id)
    assert (done.status, done.metadata) == ("completed", {"night": "1"})
    assert done.request_counts == {"total": 4, "completed": 3, "failed": 1}
    assert done.output_file_id is not None
    assert done.error_file_id is not None
    answers = results(client.content(done.output_file_id))
    for name, body in rows.items():
        assert answers[name]["data"][0]["score"] == client.score(body["inputs"], model="toy-table").score[0]
    assert "none" in results(client.content(done.error_file_id))["wrong"]["detail"]


def test_files_are_listed_and_deleted(ask: Ask, tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_bytes(requests(COMPLETE, {"a": {"prompt": "To be"}}))
    file = ask("upload", path)
    assert ask("file", file.id) == file
    assert ask("content", file.id) == path.read_bytes()
    assert file in ask("files")
    assert len(ask("files", limit=1)) == 1
    ask("delete_file", file.id)
    with pytest.raises(NotFound):
        ask("file", file.id)


def test_a_batch_can_be_cancelled(live: Live) -> None:
    async def talk() -> None:
        async with AsyncClient(live.url) as client:
            long = {str(i): {"prompt": "To be", "max_tokens": 500, "n": 8} for i in range(50)}
            file = await client.upload(requests(COMPLETE, long))
            batch = await client.create_batch(file.id, COMPLETE)
            assert batch.id in [one.id for one in await client.batches()]
            await client.cancel_batch(batch.id)
            async with asyncio.timeout(30):
                while not (now := await client.batch(batch.id)).ended:
                    await asyncio.sleep(0.02)
            assert now.status == "cancelled"

    asyncio.run(talk())


def test_what_cannot_be_a_batch_is_refused(client: Client) -> None:
    file = client.upload(requests(COMPLETE, {"a": {"model": DIFFUSION}}))
    with pytest.raises(Invalid):
        client.create_batch(file.id, "/v1/nothing")
