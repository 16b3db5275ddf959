"""Metrics: what a dashboard shows is what happened, and no client can make it grow."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from service.api.app import ROUTES
from service.metrics import Metrics
from tests.service.api.client import Api, b64, npy
from tests.toys import directories
from tests.toys.broken import BROKEN
from tests.toys.directories import DENOISER, DENSITY, DIFFUSION, GENERATOR, RESTORER, WRITER, normal_images

GENERATE, DENOISE, SCORE, COMPLETE = "/v1/images/generations", "/v1/images/denoise", "/v1/score", "/v1/completions"
FAMILIES = {
    "amostra_requests": "counter",
    "amostra_errors": "counter",
    "amostra_cancelled_requests": "counter",
    "amostra_request_duration_seconds": "histogram",
    "amostra_requests_in_progress": "gauge",
    "amostra_queue_wait_seconds": "histogram",
    "amostra_queue_depth_rows": "gauge",
    "amostra_engine_jobs": "gauge",
    "amostra_batch_rows": "histogram",
    "amostra_step_duration_seconds": "histogram",
    "amostra_encode_duration_seconds": "histogram",
    "amostra_padding_rows": "counter",
    "amostra_computed_rows": "counter",
    "amostra_images": "counter",
    "amostra_tokens_generated": "counter",
    "amostra_tokens_prompt": "counter",
    "amostra_time_to_first_token_seconds": "histogram",
    "amostra_inter_token_seconds": "histogram",
    "amostra_score_p_value": "histogram",
    "amostra_model_info": "gauge",
    "amostra_model_state": "gauge",
    "amostra_model_load_seconds": "gauge",
    "amostra_cpu_fallback": "gauge",
    "process_cpu_seconds": "counter",
    "process_resident_memory_bytes": "gauge",
}


@pytest.fixture
def api(make_api: Callable[..., Api]) -> Api:
    return make_api()


def scrape(api: Api) -> dict[str, Any]:
    """All families by name, read by the official parser."""
    answer = api.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


def value(families: dict[str, Any], name: str, **labels: str) -> float:
    """The sum of all samples of that name with those labels."""
    samples = (s for family in families.values() for s in family.samples if s.name == name)
    return sum(s.value for s in samples if labels.items() <= s.labels.items())


def traffic(api: Api) -> list[httpx.Response]:
    image = normal_images(3, seed=0)
    return [
        api.post(GENERATE, json={"n": 5}),
        api.post(GENERATE, json={"n": 2}, headers={"accept": "image/png"}),
        api.post(GENERATE, json={"n": 0}),
        api.post(DENOISE, json={"image": b64(npy(image))}),
        api.post(SCORE, json={"inputs": image.tolist()}),
        api.post(COMPLETE, json={"prompt": "To be", "max_tokens": 12, "n": 2}),
        api.post(COMPLETE, json={"prompt": "To be", "max_tokens": 7, "stream": True}),
    ]


def test_all_families_are_there_with_their_types(api: Api) -> None:
    traffic(api)
    families = scrape(api)
    found = {name: families[name].type for name in FAMILIES if name in families}
    assert found == FAMILIES
    for name, family in families.items():
        if name.startswith("amostra_"):
            assert family.documentation


def test_what_is_counted_is_what_happened(api: Api) -> None:
    traffic(api)
    m = scrape(api)
    assert value(m, "amostra_requests_total", route=GENERATE, status="200", method="POST", model=GENERATOR) == 2
    assert value(m, "amostra_requests_total", route=GENERATE, status="422", method="POST") == 1
    assert value(m, "amostra_errors_total", route=GENERATE, code="invalid") == 1
    assert value(m, "amostra_errors_total") == 1
    assert value(m, "amostra_cancelled_requests_total") == 0
    assert value(m, "amostra_request_duration_seconds_count", route=COMPLETE, model=WRITER) == 2
    assert value(m, "amostra_images_total", model=GENERATOR, task="generate") == 7
    assert value(m, "amostra_images_total", model=DENOISER, task="denoise") == 3
    assert value(m, "amostra_tokens_generated_total", model=WRITER) == 12 * 2 + 7
    computed, reused = (value(m, f"amostra_tokens_prompt_{what}total", model=WRITER) for what in ("", "reused_"))
    assert computed + reused == (1 + 5) * 3
    assert value(m, "amostra_time_to_first_token_seconds_count", model=WRITER) == 3
    assert 1 <= value(m, "amostra_inter_token_seconds_count", model=WRITER) <= 11 * 2 + 6
    assert value(m, "amostra_score_p_value_count", model=DENSITY) == 3
    assert value(m, "amostra_computed_rows_total", model=GENERATOR, capability="decode") == 7
    assert value(m, "amostra_batch_rows_sum", model=GENERATOR) == 7
    assert value(m, "amostra_computed_rows_total", model=DENOISER) == 3
    assert value(m, "amostra_step_duration_seconds_count", model=DENSITY, capability="log_density") >= 1
    assert value(m, "amostra_queue_wait_seconds_count", model=GENERATOR) == 2
    assert value(m, "amostra_requests_in_progress") == 1, "this very request"
    assert value(m, "amostra_engine_jobs") == 0
    assert value(m, "amostra_queue_depth_rows") == 0


def test_images_are_counted_by_what_was_done_to_them(api: Api) -> None:
    image, mask = b64(npy(normal_images(1, seed=0))), b64(npy(np.ones((8, 8))))
    api.post("/v1/images/edits", json={"image": image, "mask": mask, "n": 3})
    api.post("/v1/images/restore", json={"image": [image, image]})
    api.post(DENOISE, json={"image": image, "model": DIFFUSION})
    api.post(GENERATE, json={"model": DIFFUSION, "n": 4, "steps": 5, "guidance": 2, "stream": True})
    m = scrape(api)
    assert value(m, "amostra_images_total", model=DIFFUSION, task="edit") == 3
    assert value(m, "amostra_images_total", model=RESTORER, task="restore") == 2
    assert value(m, "amostra_images_total", model=DIFFUSION, task="denoise") == 1
    assert value(m, "amostra_images_total", model=DIFFUSION, task="generate") == 4
    assert value(m, "amostra_requests_total", route="/v1/images/edits", status="200", model=DIFFUSION) == 1


def test_encoding_is_timed_for_each_answer_that_has_results(api: Api) -> None:
    for _ in range(3):
        api.post(GENERATE, json={"n": 2})
    api.post(GENERATE, json={"n": 0})
    m = scrape(api)
    assert value(m, "amostra_encode_duration_seconds_count", route=GENERATE) == 3
    assert 0 < value(m, "amostra_encode_duration_seconds_sum") < value(m, "amostra_request_duration_seconds_sum")


def test_padding_is_counted(api: Api) -> None:
    api.post(DENOISE, json={"image": b64(npy(normal_images(5, seed=0)))})
    m = scrape(api)
    assert value(m, "amostra_computed_rows_total", model=DENOISER) == 5
    assert value(m, "amostra_padding_rows_total", model=DENOISER, capability="reconstruct") == 1


def test_what_waits_is_shown(api: Api) -> None:
    api.gate.close()

    async def talk() -> dict[str, Any]:
        tasks = [asyncio.create_task(api.send("POST", GENERATE, json={"n": 30})) for _ in range(4)]
        await asyncio.to_thread(api.gate.reached.wait, 10)
        await asyncio.sleep(0.05)
        text = (await api.send("GET", "/metrics")).text
        api.gate.open()
        assert [(await task).status_code for task in tasks] == [200] * 4
        return {family.name: family for family in text_string_to_metric_families(text)}

    m = api.run(talk())
    assert value(m, "amostra_engine_jobs") == 4
    assert value(m, "amostra_requests_in_progress") == 5
    assert 0 < value(m, "amostra_queue_depth_rows", model=GENERATOR) <= 120


def test_labels_are_bounded_whatever_clients_write(api: Api) -> None:
    for i in range(30):
        api.get(f"/no/such/route/{i}")
        api.get(f"/v1/models/model-{i}")
        api.post(GENERATE, json={"model": f"model-{i}"}, headers={"x-request-id": f"id-{i}"})
        api.run(api.send(f"METHOD{i}", GENERATE))
        api.run(api.send(f"METHOD{i}", f"/nowhere/{i}"))
        api.get(f"/v1/models?state={i}")
    traffic(api)
    templates = {route.path for route in ROUTES} | {"other"}
    names = {"", *(e.name for e in api.catalog.entries())}
    for name, family in scrape(api).items():
        if not name.startswith("amostra_"):
            continue
        for sample in family.samples:
            assert sample.labels.get("route", "other") in templates
            assert sample.labels.get("model", "") in names
            assert sample.labels.get("method", "") in ("", "GET", "POST", "HEAD")
        assert len({tuple(s.labels.items()) for s in family.samples}) < 400


def test_latencies_have_exemplars_that_lead_to_the_request(api: Api) -> None:
    for path, body in ((GENERATE, {}), (COMPLETE, {})):
        api.post(path, json=body, headers={"x-request-id": "the-one"})
    families = scrape(api)
    for name in ("amostra_request_duration_seconds", "amostra_time_to_first_token_seconds"):
        exemplars = [s.exemplar for s in families[name].samples if s.exemplar]
        assert {"request_id": "the-one"} in [exemplar.labels for exemplar in exemplars]


def test_models_are_shown_with_version_and_provider(api: Api, store: Path) -> None:
    def info() -> list[dict[str, str]]:
        samples = scrape(api)["amostra_model_info"].samples
        return [s.labels for s in samples if s.labels["model"] == GENERATOR]

    def states(version: str) -> dict[str, float]:
        samples = scrape(api)["amostra_model_state"].samples
        return {
            s.labels["state"]: s.value
            for s in samples
            if (s.labels["model"], s.labels["version"]) == (GENERATOR, version)
        }

    one = {"model": GENERATOR, "version": "1", "family": "toy", "provider": "CPUExecutionProvider"}
    assert info() == [one]
    assert states("1") == {"loading": 0, "ready": 1, "refused": 0, "unloaded": 0}

    breakage = BROKEN["wrong hash"]
    breakage.spoil(breakage.write(store, version="2"))
    directories.write_generator(store, version="3")
    for _ in range(2):
        api.catalog.refresh()
    assert info() == [one, {**one, "version": "3"}]
    assert states("2") == {"loading": 0, "ready": 0, "refused": 1, "unloaded": 0}
    assert value(scrape(api), "amostra_model_load_seconds", model=GENERATOR, version="3") > 0

    (store / GENERATOR / "3").rename(store / ".3")
    for _ in range(2):
        api.catalog.refresh()
    assert info() == [one]
    assert states("3") == {}


def test_a_stream_that_ends_in_an_error_is_counted(make_api: Callable[..., Api]) -> None:
    api = make_api(request_timeout_seconds=0.05)
    api.gate.close()
    api.post(COMPLETE, json={"stream": True})
    api.gate.open()
    m = scrape(api)
    assert value(m, "amostra_errors_total", route=COMPLETE, code="deadline_exceeded") == 1


def test_a_histogram_counts_as_the_library_does() -> None:
    """What is observed often goes past the library's own search for the bucket, many values at a time."""
    values = [-1.0, 0.0, 0.0005, 0.00051, 0.3, 60.0, 61.0, float("inf")] * 40
    ours, theirs = Metrics(), Metrics()
    for value in values:
        ours.encoded("/v1/x", value)
        theirs.encode_time.labels("/v1/x").observe(value)

    def counted(metrics: Metrics) -> list[tuple]:
        name = "amostra_encode_duration_seconds"
        families = [family for family in metrics.registry.collect() if family.name == name]
        return [
            (s.name, s.labels, s.value) for family in families for s in family.samples if not s.name.endswith("created")
        ]

    assert counted(ours) == counted(theirs)
    assert len(counted(ours)) > 10


def test_what_several_threads_observe_is_counted_once() -> None:
    metrics = Metrics()

    def observe() -> None:
        for _ in range(5000):
            metrics.encoded("/v1/x", 0.3)

    threads = [threading.Thread(target=observe) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        metrics.render()
    for thread in threads:
        thread.join()
    count = metrics.registry.get_sample_value("amostra_encode_duration_seconds_count", {"route": "/v1/x"})
    assert count == 4 * 5000
