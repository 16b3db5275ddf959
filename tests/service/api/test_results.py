"""Kept results: the same request is the same bytes without being computed again, and nothing else is."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.service.api.client import Api, b64, events, npy, png, said
from tests.toys import directories
from tests.toys.directories import COLOURIST, DIFFUSION, GENERATOR, INPAINTER, PIXELS, TABLE, WRITER, normal_images

GENERATE, EDIT, DENOISE = "/v1/images/generations", "/v1/images/edits", "/v1/images/denoise"
RESTORE, SCORE, EMBED, COMPLETE = "/v1/images/restore", "/v1/score", "/v1/embeddings", "/v1/completions"
SAMPLE = "/v1/rows/generations"
IMAGE = (np.rint(normal_images(1, seed=0) * 255) / 255).astype(np.float32)
HOLE = b64(npy(np.eye(8)))
KEPT: dict[str, tuple[str, dict[str, Any]]] = {
    "images": (GENERATE, {"n": 3, "seed": 1}),
    "images between seeds": (GENERATE, {"n": 3, "seeds": [1, 2]}),
    "images of latents": (GENERATE, {"latents": [[0.5, 0, 0, 1]]}),
    "images in steps": (GENERATE, {"model": DIFFUSION, "seed": 1, "steps": 3, "guidance": 2}),
    "images by value": (GENERATE, {"model": PIXELS, "n": 2, "seed": 1}),
    "images of the likeliest values": (GENERATE, {"model": PIXELS, "temperature": 0}),
    "an edit in steps": (EDIT, {"image": b64(npy(IMAGE)), "mask": HOLE, "seed": 1, "n": 2}),
    "an edit by value": (EDIT, {"model": PIXELS, "image": b64(npy(IMAGE)), "mask": HOLE, "seed": 1}),
    "an edit in one way": (EDIT, {"model": INPAINTER, "image": b64(npy(IMAGE)), "mask": HOLE}),
    "a clean image": (DENOISE, {"image": b64(npy(IMAGE)), "sigma": 0.1}),
    "a clean image of unknown noise": (DENOISE, {"image": b64(npy(IMAGE)), "model": DIFFUSION}),
    "a larger image": (RESTORE, {"image": b64(npy(IMAGE))}),
    "rows": (SAMPLE, {"n": 3, "seed": 1}),
    "rows of latents": (SAMPLE, {"latents": [[0.5, 0, 0, 1, 0]]}),
    "scores": (SCORE, {"inputs": IMAGE.tolist()}),
    "scores of texts": (SCORE, {"input": ["To be", "or not"]}),
    "embeddings": (EMBED, {"model": TABLE, "inputs": [[1, 2, 3]]}),
    "text": (COMPLETE, {"prompt": "To be", "seed": 1, "n": 2, "logprobs": 2}),
    "the likeliest text": (COMPLETE, {"prompt": "To be", "temperature": 0}),
}
NOT_KEPT: dict[str, tuple[str, dict[str, Any]]] = {
    "images without a seed": (GENERATE, {"n": 2}),
    "rows without a seed": (SAMPLE, {"n": 2}),
    "a stream of images": (GENERATE, {"seed": 1, "stream": True}),
    "an edit without a seed": (EDIT, {"image": b64(npy(IMAGE)), "mask": HOLE}),
    "text without a seed": (COMPLETE, {"prompt": "To be"}),
    "a stream of text": (COMPLETE, {"prompt": "To be", "seed": 1, "stream": True}),
    "an error": (GENERATE, {"n": 0, "seed": 1}),
}


@pytest.fixture
def api(make_api: Callable[..., Api]) -> Api:
    return make_api(result_cache_mb=8)


def told(answer: httpx.Response) -> str | None:
    return answer.headers.get("x-amostra-cache")


def computed(api: Api) -> float:
    """Rows and tokens that any model computed."""
    samples = (s for family in api.metrics.registry.collect() for s in family.samples)
    return sum(s.value for s in samples if s.name in ("amostra_computed_rows_total", "amostra_tokens_generated_total"))


def without_seed(answer: httpx.Response) -> Any:
    """What was said, but for a seed that nothing depended on and that was drawn."""
    content = said(answer)
    return {k: v for k, v in content.items() if k != "seed"} if isinstance(content, dict) else content


@pytest.mark.parametrize("case", KEPT)
def test_the_same_request_is_answered_the_same_and_computed_once(api: Api, case: str) -> None:
    path, body = KEPT[case]
    first = api.post(path, json=body)
    before = computed(api)
    second = api.post(path, json=body)
    assert (told(first), told(second)) == ("miss", "hit")
    assert without_seed(second) == without_seed(first)
    assert computed(api) == before > 0
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


@pytest.mark.parametrize("case", NOT_KEPT)
def test_what_differs_from_request_to_request_is_not_kept(api: Api, case: str) -> None:
    path, body = NOT_KEPT[case]
    assert [told(api.post(path, json=body)) for _ in range(2)] == [None, None]
    assert api.app.state.service.results.bytes == 0


@pytest.mark.parametrize("case", KEPT)
def test_it_is_off_unless_asked_for(make_api: Callable[..., Api], case: str) -> None:
    api = make_api()
    path, body = KEPT[case]
    assert [told(api.post(path, json=body)) for _ in range(2)] == [None, None]


def test_what_tells_answers_apart_is_each_answer_s_own(api: Api) -> None:
    first, second = (api.post(COMPLETE, json={"prompt": "To be", "seed": 1}).json() for _ in range(2))
    assert first["id"] != second["id"]
    assert first["choices"] == second["choices"]


SPELLINGS = {
    "defaults": (GENERATE, {"seed": 1}, {"seed": 1, "n": 1, "model": GENERATOR, "size": "8x8"}),
    "version": (GENERATE, {"seed": 1}, {"seed": 1, "model": f"{GENERATOR}@1"}),
    "a class by name": (GENERATE, {"seed": 1, "label": 3}, {"seed": 1, "prompt": "3"}),
    "what nobody uses": (GENERATE, {"seed": 1}, {"seed": 1, "user": "me"}),
    "the model's own steps": (
        GENERATE,
        {"model": DIFFUSION, "seed": 1, "prompt": "3"},
        {"model": DIFFUSION, "seed": 1, "prompt": "3", "steps": 6, "sampler": "dpmpp_2m", "guidance": 1.5},
    ),
    "the model's own steps in an edit": (
        EDIT,
        {"image": b64(npy(IMAGE)), "mask": HOLE, "seed": 1},
        {"image": b64(npy(IMAGE)), "mask": HOLE, "seed": 1, "steps": 6, "sampler": "dpmpp_2m", "model": DIFFUSION},
    ),
    "a picture and its numbers": (RESTORE, {"image": b64(npy(IMAGE))}, {"image": b64(png(IMAGE[0]))}),
    "what changes the answer only": (SCORE, {"inputs": IMAGE.tolist()}, {"inputs": IMAGE[0].tolist(), "alpha": 0.5}),
    "stop alone or in a list": (COMPLETE, {"seed": 1, "stop": "a"}, {"seed": 1, "stop": ["a"], "max_tokens": 16}),
    "no randomness": (COMPLETE, {"seed": 1, "temperature": 0}, {"seed": 2, "temperature": 0}),
}


@pytest.mark.parametrize("case", SPELLINGS)
def test_two_spellings_of_one_request_share_a_result(api: Api, case: str) -> None:
    path, one, other = SPELLINGS[case]
    assert [told(api.post(path, json=body)) for body in (one, other)] == ["miss", "hit"]


@pytest.mark.parametrize(
    ("path", "one", "other"),
    [
        (GENERATE, {"seed": 1}, {"seed": 2}),
        (GENERATE, {"seed": 1}, {"seed": 1, "n": 2}),
        (GENERATE, {"seed": 1}, {"seed": 1, "model": DIFFUSION}),
        (GENERATE, {"seed": 1, "model": PIXELS}, {"seed": 1, "model": PIXELS, "temperature": 0.5}),
        (DENOISE, {"image": b64(npy(IMAGE))}, {"image": b64(npy(IMAGE)), "sigma": 0.1}),
        (DENOISE, {"image": b64(npy(IMAGE))}, {"image": b64(npy(1 - IMAGE))}),
        (COMPLETE, {"seed": 1, "prompt": "To"}, {"seed": 1, "prompt": ["To", "To"]}),
        (COMPLETE, {"seed": 1, "prompt": "To"}, {"seed": 1, "prompt": "To", "logprobs": 0}),
    ],
)
def test_different_requests_do_not(api: Api, path: str, one: dict[str, Any], other: dict[str, Any]) -> None:
    assert [told(api.post(path, json=body)) for body in (one, other)] == ["miss", "miss"]


def test_tasks_of_one_model_do_not_share_results(api: Api) -> None:
    body = {"model": COLOURIST, "image": b64(npy(IMAGE))}
    vectors = {"model": TABLE, "inputs": [[1, 2, 3]]}
    asked = [(RESTORE, body), (SCORE, vectors), (EMBED, vectors)]
    assert [told(api.post(path, json=body)) for path, body in asked] == ["miss"] * 3


def test_one_result_is_answered_in_every_form(api: Api) -> None:
    for accept, seen in (("application/x-npy", "miss"), ("image/png", "hit"), ("application/json", "hit")):
        answer = api.post(GENERATE, json={"seed": 1, "n": 2}, headers={"accept": accept})
        assert (told(answer), answer.headers["content-type"]) == (seen, accept)


def test_a_replaced_model_does_not_answer_from_its_predecessor_s(api: Api, store: Path) -> None:
    ask = {"seed": 1, "response_format": "npy"}
    before = api.post(GENERATE, json=ask)
    directories.write_generator(store, seed=5)
    for _ in range(2):
        api.catalog.refresh()
    after = api.post(GENERATE, json=ask)
    assert told(after) == "miss"
    assert after.content != before.content
    assert told(api.post(GENERATE, json=ask)) == "hit"


def test_a_kept_result_needs_no_room_in_the_queue(make_api: Callable[..., Api]) -> None:
    api = make_api(result_cache_mb=8, queue_requests=1)
    api.post(GENERATE, json={"seed": 1})
    api.gate.close()

    async def talk() -> list[int]:
        task = asyncio.create_task(api.send("POST", GENERATE, json={"seed": 2}))
        await asyncio.to_thread(api.gate.reached.wait, 10)
        found = [(await api.send("POST", GENERATE, json={"seed": seed})).status_code for seed in (1, 3)]
        api.gate.open()
        return [*found, (await task).status_code]

    assert api.run(talk()) == [200, 429, 200]


def test_it_is_bounded(make_api: Callable[..., Api]) -> None:
    api = make_api(result_cache_mb=1, max_images=1000)
    for seed in range(8):
        api.post(GENERATE, json={"seed": seed, "n": 900, "response_format": "npy"})
    kept = api.app.state.service.results
    assert 2**20 / 2 < kept.bytes <= 2**20
    assert told(api.post(GENERATE, json={"seed": 7, "n": 900, "response_format": "npy"})) == "hit"
    assert told(api.post(GENERATE, json={"seed": 0, "n": 900, "response_format": "npy"})) == "miss"


def test_hits_misses_and_bytes_are_counted(api: Api) -> None:
    for seed in (1, 1, 2, 1):
        api.post(COMPLETE, json={"seed": seed})
    value = api.metrics.registry.get_sample_value
    assert value("amostra_result_cache_hits_total", {"model": WRITER}) == 2
    assert value("amostra_result_cache_misses_total", {"model": WRITER}) == 2
    assert value("amostra_result_cache_bytes") == api.app.state.service.results.bytes > 0


def test_a_stream_says_what_a_kept_answer_says(api: Api) -> None:
    body = {"prompt": "To be", "seed": 1}
    kept = [api.post(COMPLETE, json=body).json()["choices"][0]["text"] for _ in range(2)]
    streamed = events(api.post(COMPLETE, json={**body, "stream": True}))
    assert kept == ["".join(event["choices"][0]["text"] for event in streamed)] * 2
