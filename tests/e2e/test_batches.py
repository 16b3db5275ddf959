"""Batches as a user of the `openai` client has them, on a server that is killed in between."""

import io
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import orjson
import pytest
from openai.types import Batch

from tests.e2e.server import Server
from tests.toys import directories
from tests.toys.directories import TABLE

Start = Callable[[], openai.OpenAI]
ENDED = ("completed", "failed", "expired", "cancelled")


class Service:
    """A server on one directory of batches, that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        settings = {"AMOSTRA_PROVIDER": "cpu", "AMOSTRA_BATCH_DIR": str(folder / "batches")}
        (folder / "home").mkdir()
        self._server = Server(directories.write_store(folder / "store"), folder / "home", settings)

    def start(self) -> openai.OpenAI:
        self._server.start()
        self._server.until("/readyz", 200)
        return openai.OpenAI(base_url=f"{self._server.url}/v1", api_key="none", max_retries=0)

    def kill(self) -> None:
        self._server.kill()

    def terminate(self) -> float:
        """SIGTERM; returns how many seconds it took."""
        start = time.monotonic()
        self._server.terminate()
        return time.monotonic() - start


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path)
    yield service
    service.kill()


def requests(endpoint: str, bodies: list[dict[str, Any]]) -> bytes:
    asked = ({"custom_id": f"row {i}", "method": "POST", "url": endpoint, "body": b} for i, b in enumerate(bodies))
    return b"\n".join(orjson.dumps(line) for line in asked)


def begin(client: openai.OpenAI, endpoint: str, bodies: list[dict[str, Any]]) -> Batch:
    file = client.files.create(file=("rows.jsonl", io.BytesIO(requests(endpoint, bodies))), purpose="batch")
    return client.batches.create(
        input_file_id=file.id,
        endpoint=endpoint,  # type: ignore[arg-type]
        completion_window="24h",
        metadata={"of": "a test"},
    )


def until(client: openai.OpenAI, batch: Batch, is_so: Callable[[Batch], bool], seconds: float = 90) -> Batch:
    end = time.monotonic() + seconds
    while not is_so(batch):
        assert time.monotonic() < end, batch
        time.sleep(0.02)
        batch = client.batches.retrieve(batch.id)
    return batch


def ended(batch: Batch) -> bool:
    return batch.status in ENDED


def done(batch: Batch) -> int:
    assert batch.request_counts is not None
    return batch.request_counts.completed


def written(client: openai.OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    return [] if file_id is None else [orjson.loads(line) for line in client.files.content(file_id).iter_lines()]


@pytest.mark.slow
def test_the_openai_client_drives_it_whole(service: Service) -> None:
    client = service.start()
    batch = begin(client, "/v1/completions", [{"prompt": "To be", "max_tokens": 4, "seed": i} for i in range(20)])
    assert (batch.object, batch.status, batch.metadata) == ("batch", "validating", {"of": "a test"})
    assert client.files.retrieve(batch.input_file_id).purpose == "batch"
    batch = until(client, batch, ended)
    assert (batch.status, batch.errors, batch.error_file_id) == ("completed", None, None)
    assert batch.request_counts is not None
    assert batch.request_counts.model_dump() == {"total": 20, "completed": 20, "failed": 0}
    for i, line in enumerate(written(client, batch.output_file_id)):
        online = client.completions.create(model="", prompt="To be", max_tokens=4, seed=i)
        assert line["custom_id"] == f"row {i}"
        assert line["response"]["body"]["choices"][0]["text"] == online.choices[0].text
    bad = until(client, begin(client, "/v1/completions", []), ended)
    assert bad.status == "failed"
    assert bad.errors is not None
    assert bad.errors.data is not None
    assert bad.errors.data[0].code == "empty_file"
    others = [begin(client, "/v1/images/generations", [{"n": 1}]) for _ in range(3)]
    assert {b.id for b in client.batches.list(limit=2)} == {batch.id, bad.id, *(b.id for b in others)}  # three pages
    long = begin(client, "/v1/completions", [{"prompt": "To be", "max_tokens": 400, "n": 8}] * 200)
    assert client.batches.cancel(long.id).status == "cancelling"
    assert until(client, long, ended).status == "cancelled"
    with pytest.raises(openai.ConflictError, match="nothing left to cancel"):
        client.batches.cancel(long.id)
    for file in list(client.files.list()):
        if file.purpose == "batch":
            assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.content(batch.input_file_id)
    assert written(client, batch.output_file_id)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_kill_loses_no_line_and_doubles_none(service: Service) -> None:
    count, rng = 400, random.Random(0)
    bodies = [{"model": TABLE, "inputs": [[i / count, 0.5, 0.5]] * 20} for i in range(count)]
    drawn = [{"prompt": "To be", "max_tokens": 20, "temperature": 1.0} for _ in range(60)]
    client = service.start()
    batches = [begin(client, "/v1/score", bodies), begin(client, "/v1/completions", drawn)]
    for _ in range(3):
        so_far = [done(client.batches.retrieve(batch.id)) for batch in batches]
        client = go_on(service, client, batches, so_far, rng)
    batches = [until(client, batch, ended) for batch in batches]
    assert [batch.status for batch in batches] == ["completed", "completed"]
    scored, texts = (written(client, batch.output_file_id) for batch in batches)
    assert [line["custom_id"] for line in scored] == [f"row {i}" for i in range(count)]
    assert [line["custom_id"] for line in texts] == [f"row {i}" for i in range(len(drawn))]
    assert len({line["id"] for line in scored + texts}) == count + len(drawn)
    for i in rng.sample(range(count), 20):
        online = client.post("/score", body=bodies[i], cast_to=object)
        assert scored[i]["response"]["body"] == online
    for i in rng.sample(range(len(drawn)), 10):
        body = texts[i]["response"]["body"]
        online = client.completions.create(model="", seed=body["seed"], **drawn[i])  # type: ignore[arg-type]
        assert body["choices"][0]["text"] == online.choices[0].text


def go_on(
    service: Service, client: openai.OpenAI, batches: list[Batch], so_far: list[int], rng: random.Random
) -> openai.OpenAI:
    """Let it get on a little, kill it, and start it again."""
    until(client, batches[0], lambda batch: ended(batch) or done(batch) > so_far[0] + rng.randrange(10, 80))
    service.kill()
    client = service.start()
    for batch, before in zip(batches, so_far, strict=True):
        assert done(client.batches.retrieve(batch.id)) >= before
    return client


@pytest.mark.slow
def test_a_batch_does_not_hold_up_the_end_and_goes_on_after_it(service: Service) -> None:
    client = service.start()
    batch = begin(client, "/v1/completions", [{"prompt": "To be", "max_tokens": 200, "n": 4}] * 120)
    until(client, batch, lambda batch: done(batch) > 2)
    assert service.terminate() < 10
    client = service.start()
    batch = client.batches.retrieve(batch.id)
    assert batch.status == "in_progress"
    before = done(batch)
    assert 2 < before < 120
    until(client, batch, lambda batch: done(batch) > before)
    client.batches.cancel(batch.id)
