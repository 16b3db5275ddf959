"""The service as an operator runs it: it starts, says when it is ready, takes load, takes models, and stops.

The tests share one server and run in this order: each finds it as the one before left it.
"""

import asyncio
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.e2e.server import Server
from tests.eventually import eventually
from tests.service.api.client import b64, npy, png, read_npy, read_png, said, unb64
from tests.toys import directories
from tests.toys.directories import (
    DETECTOR,
    EMBEDDER,
    GENERATOR,
    TABLE,
    TEXT_EMBEDDER,
    TOYS,
    WRITER,
    normal_images,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Started with a default model of text that cannot be loaded yet: alive, but not ready."""
    store = tmp_path_factory.mktemp("store")
    directories.write_store(store)
    (store / WRITER / "1/manifest.json").rename(store / WRITER / "1/not-yet.json")
    settings = {"AMOSTRA_POLL_SECONDS": "0.1", "AMOSTRA_PROVIDER": "cpu", "AMOSTRA_QUEUE_REQUESTS": "48"}
    server = Server(store, tmp_path_factory.mktemp("bentoml"), settings)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def client(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def test_alive_but_not_ready_while_a_default_model_is_refused(http: httpx.Client) -> None:
    assert http.get("/livez").status_code == 200
    assert http.get("/readyz").status_code == 503
    answer = http.post("/v1/completions", json={})
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")


def test_ready_when_it_is_whole(server: Server, http: httpx.Client) -> None:
    directory = server.store / WRITER / "1"
    (directory / "not-yet.json").rename(directory / "manifest.json")
    server.until("/readyz", 200, seconds=20)
    assert http.post("/v1/completions", json={}).status_code == 200


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux to look into a process")
def test_no_torch_in_the_process(server: Server) -> None:
    processes = server.processes()
    assert len(processes) > 1, "a supervisor and its worker"
    maps = "".join(Path(f"/proc/{process.pid}/maps").read_text() for process in processes)
    assert "onnxruntime" in maps
    assert "torch" not in maps


def test_every_route_answers(http: httpx.Client) -> None:
    image = normal_images(1, seed=0)[0]
    generated = http.post("/v1/images/generations", json={"n": 3, "seed": 1}, headers={"accept": "application/x-npy"})
    assert read_npy(generated).shape == (3, 1, 8, 8)
    clean = http.post(
        "/v1/images/denoise", content=png(image), headers={"content-type": "image/png", "accept": "image/png"}
    )
    assert read_png(clean.content).shape == (8, 8)
    assert http.post("/v1/score", files={"image": ("a.png", png(image))}).json()["model"] == DETECTOR
    assert http.post("/v1/score", json={"input": "To be"}).json()["model"] == WRITER
    assert http.post("/v1/embeddings", json={"input": "To be"}).json()["model"] == TEXT_EMBEDDER
    assert read_png(http.get(f"/v1/models/{EMBEDDER}/sheet").content).shape == (8, 8)
    assert http.get("/openapi.json").json()["openapi"].startswith("3.1")
    assert http.get("/docs").headers["content-type"].startswith("text/html")
    assert http.get("/", follow_redirects=True).status_code == 200
    page = http.get("/metrics")
    assert page.headers["content-type"].startswith("application/openmetrics-text")
    families = {family.name for family in text_string_to_metric_families(page.text)}
    assert {"amostra_requests", "amostra_model_info", "process_resident_memory_bytes"} <= families


def test_errors_are_ours_and_not_the_framework_s(http: httpx.Client) -> None:
    for answer, status in (
        (http.get("/nowhere"), 404),
        (http.get("/v1/score"), 405),
        (http.post("/v1/score", content=b"x"), 415),
        (http.post("/v1/images/generations", content=b"{"), 400),
        (http.post("/v1/images/generations", json={"n": 0}), 422),
    ):
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["error"]["message"] == answer.json()["detail"]


def test_openai_lists_models(client: openai.OpenAI) -> None:
    assert {model.id for model in client.models.list()} == set(TOYS)
    assert client.models.retrieve(WRITER).owned_by == "amostra"


def test_openai_completes(client: openai.OpenAI) -> None:
    ask: dict[str, Any] = {"model": WRITER, "prompt": "To be", "max_tokens": 30, "seed": 5, "n": 2, "logprobs": 2}
    whole = client.completions.create(**ask)
    assert whole.usage is not None
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (5, 60)
    assert [len(choice.text) for choice in whole.choices] == [30, 30]
    texts = ["", ""]
    for event in client.completions.create(**ask, stream=True):
        for choice in event.choices:
            texts[choice.index] += choice.text
    assert texts == [choice.text for choice in whole.choices]


def test_openai_generates_an_image(client: openai.OpenAI) -> None:
    answer = client.images.generate(model=GENERATOR, prompt="7", n=2, response_format="b64_json")
    assert answer.data is not None
    assert [read_png(unb64(image.b64_json or "")).shape for image in answer.data] == [(8, 8)] * 2


def test_openai_understands_our_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as not_found:
        client.completions.create(model="nobody", prompt="a")
    assert (not_found.value.param, not_found.value.code) == ("model", "not_found")
    with pytest.raises(openai.UnprocessableEntityError, match="no class of model"):
        client.images.generate(model=GENERATOR, prompt="dog")


def test_a_client_that_leaves_a_stream_frees_the_engine(server: Server, http: httpx.Client) -> None:
    ask = {"prompt": "To be", "max_tokens": 4000, "stream": True, "n": 8}
    with http.stream("POST", "/v1/completions", json=ask) as answer:
        next(answer.iter_lines())
    until_idle(http)
    assert sample(http, "amostra_cancelled_requests_total") >= 1
    assert sample(http, "amostra_tokens_generated_total") < 8 * 4000


def sample(http: httpx.Client, name: str) -> float:
    families = text_string_to_metric_families(http.get("/metrics").text)
    return sum(s.value for family in families for s in family.samples if s.name == name)


def until_idle(http: httpx.Client) -> None:
    eventually(lambda: sample(http, "amostra_engine_jobs") == 0)


def test_a_model_that_is_dropped_in_serves(server: Server, http: httpx.Client) -> None:
    directories.write_generator(server.store, "newcomer", seed=9)
    eventually(lambda: http.post("/v1/images/generations", json={"model": "newcomer"}).status_code == 200)
    assert "newcomer" in {model["id"] for model in http.get("/v1/models").json()["data"]}


IMAGE = b64(npy(normal_images(2, seed=4)))
MIXED: list[dict[str, Any]] = [
    {"url": "/v1/images/generations", "json": {"n": 4, "seed": 1, "response_format": "npy"}},
    {"url": "/v1/images/generations", "json": {"n": 20, "seed": 2, "response_format": "png"}},
    {"url": "/v1/images/denoise", "json": {"image": IMAGE, "response_format": "npy"}},
    {"url": "/v1/score", "json": {"inputs": normal_images(3, seed=5).tolist()}},
    {"url": "/v1/score", "json": {"model": TABLE, "inputs": [[0.1, 0.2, 0.3]]}},
    {"url": "/v1/score", "json": {"input": "To be, or not to be"}},
    {"url": "/v1/completions", "json": {"prompt": "To be", "max_tokens": 40, "seed": 3}},
    {"url": "/v1/completions", "json": {"prompt": "or not", "max_tokens": 30, "seed": 4, "stream": True}},
]


def test_sixty_four_clients_get_right_answers_or_are_told_to_wait(server: Server, http: httpx.Client) -> None:
    expected = [said(http.post(**request)) for request in MIXED]
    statuses: Counter = Counter()
    wrong: list[str] = []

    async def one(number: int, client: httpx.AsyncClient, end: float) -> None:
        chance = random.Random(number)
        while time.monotonic() < end:
            which = chance.randrange(len(MIXED))
            answer = await client.post(**MIXED[which])
            statuses[answer.status_code] += 1
            if answer.status_code == 429:
                assert int(answer.headers["retry-after"]) >= 1
                await asyncio.sleep(0.05)
            elif answer.status_code != 200 or said(answer) != expected[which]:
                wrong.append(f"{answer.status_code} {MIXED[which]['url']}: {answer.text[:200]}")

    async def crowd() -> None:
        limits = httpx.Limits(max_connections=64)
        async with httpx.AsyncClient(base_url=server.url, timeout=30, limits=limits) as client:
            end = time.monotonic() + 5
            await asyncio.gather(*(one(number, client, end) for number in range(64)))

    asyncio.run(crowd())
    assert wrong == []
    assert set(statuses) <= {200, 429}
    assert statuses[200] > 100
    until_idle(http)


def test_sigterm_lets_a_stream_end_and_exits_cleanly(server: Server) -> None:
    lines: list[str] = []
    begun = threading.Event()

    def read() -> None:
        ask = {"prompt": "To be", "max_tokens": 2000, "stream": True, "seed": 1}
        with httpx.stream("POST", f"{server.url}/v1/completions", json=ask, timeout=30) as answer:
            for line in answer.iter_lines():
                lines.append(line)
                begun.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert begun.wait(10)
    processes = server.processes()
    code = server.terminate()
    reader.join(10)
    assert not reader.is_alive()
    assert code == 0, server.log.read_text()[-4000:]
    assert [line for line in lines if line][-1] == "data: [DONE]"
    data = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    assert sum(len(event["choices"][0]["text"]) for event in data if "choices" in event) > 0
    assert not psutil.wait_procs(processes, 5)[1], "all of them have ended"
    log = server.log.read_text()
    assert "Traceback" not in log, log[-4000:]
