"""Route of embeddings: OpenAI's shape, for images, vectors and text."""

import base64
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from tests.service.api.client import Api, b64, npy, png, read_npy
from tests.toys.directories import (
    CHARACTERS,
    CONTEXT,
    EMBEDDER,
    GENERATOR,
    START,
    TABLE,
    TEXT_EMBEDDER,
    normal_images,
)
from tests.toys.graphs import encoder_weights

PATH = "/v1/embeddings"


def on_levels(count: int) -> np.ndarray:
    """Images as a PNG holds them. (count, 1, 8, 8)."""
    return (np.rint(normal_images(count, seed=4) * 255) / 255).astype(np.float32)


def of_samples(samples: np.ndarray) -> np.ndarray:
    return samples.reshape(len(samples), -1) @ encoder_weights(samples[0].size)


def of_texts(*texts: str) -> np.ndarray:
    weights = encoder_weights(len(CHARACTERS))
    return np.stack([weights[[START, *map(CHARACTERS.index, text)]].sum(0) for text in texts])


def vectors(response: httpx.Response) -> np.ndarray:
    assert response.status_code == 200, response.text
    return np.array([item["embedding"] for item in response.json()["data"]], np.float32)


def test_what_is_answered(api: Api) -> None:
    body = api.post(PATH, json={"model": TEXT_EMBEDDER, "input": ["To be", "or not"]}).json()
    assert {k: v for k, v in body.items() if k != "data"} == {
        "object": "list",
        "model": TEXT_EMBEDDER,
        "usage": {"prompt_tokens": 11, "total_tokens": 11},
    }
    expected = of_texts("To be", "or not")
    for i, item in enumerate(body["data"]):
        assert set(item) == {"object", "index", "embedding"}
        assert (item["object"], item["index"]) == ("embedding", i)
        assert item["embedding"] == pytest.approx(expected[i].tolist(), abs=1e-4)


def test_both_encodings_hold_the_same_numbers(api: Api) -> None:
    ask = {"model": TEXT_EMBEDDER, "input": "To be"}
    plain = vectors(api.post(PATH, json={**ask, "encoding_format": "float"}))
    (item,) = api.post(PATH, json={**ask, "encoding_format": "base64"}).json()["data"]
    assert base64.b64decode(item["embedding"], validate=True) == plain.astype("<f4").tobytes()
    raw = api.post(PATH, json=ask, headers={"accept": "application/x-npy"})
    assert np.array_equal(read_npy(raw), plain)
    assert raw.headers["x-amostra-model"] == TEXT_EMBEDDER


def test_openai_s_client(api: Api) -> None:
    """As it comes: it asks for base64 by itself, and reads it as float32."""

    async def talk() -> tuple[Any, Any]:
        transport = httpx.ASGITransport(api.app)
        http = httpx.AsyncClient(transport=transport)
        async with openai.AsyncOpenAI(base_url="http://amostra/v1", api_key="none", http_client=http) as client:
            several = await client.embeddings.create(model=TEXT_EMBEDDER, input=["To be", "or not"], dimensions=6)
            one = await client.embeddings.create(model=TEXT_EMBEDDER, input="or not", encoding_format="float", user="a")
            return several, one

    several, one = api.run(talk())
    found = np.array([item.embedding for item in several.data])
    assert found == pytest.approx(of_texts("To be", "or not"), abs=1e-4)
    assert np.array_equal(np.array(one.data[0].embedding, np.float32), found[1].astype(np.float32))
    assert (one.model, one.usage.prompt_tokens, one.usage.total_tokens) == (TEXT_EMBEDDER, 6, 6)


def test_text_without_a_model_goes_to_one_that_embeds_text(api: Api) -> None:
    body = api.post(PATH, json={"input": "To be"}).json()
    assert body["model"] == TEXT_EMBEDDER


def test_every_way_to_send_images_gives_the_same(api: Api) -> None:
    images = on_levels(3)
    parts = [("image", (f"{i}.png", png(image), "image/png")) for i, image in enumerate(images)]
    ways: dict[str, dict[str, Any]] = {
        "npy": {"content": npy(images), "headers": {"content-type": "application/x-npy"}},
        "multipart": {"files": parts, "data": {"model": EMBEDDER, "encoding_format": "float"}},
        "base64": {"json": {"image": [b64(png(image)) for image in images]}},
        "numbers": {"json": {"inputs": images.tolist(), "model": EMBEDDER}},
    }
    answers = {way: api.post(PATH, **request) for way, request in ways.items()}
    for way, answer in answers.items():
        assert answer.json() == answers["npy"].json(), way
        assert answer.json()["model"] == EMBEDDER
        assert answer.json()["usage"] == {"prompt_tokens": 0, "total_tokens": 0}
        assert vectors(answer) == pytest.approx(of_samples(images), abs=1e-4)


def test_a_picture_as_the_body(api: Api) -> None:
    image = on_levels(1)
    raw = {"content": png(image[0]), "headers": {"content-type": "image/png"}}
    encoded = api.post(PATH, params={"encoding_format": "base64"}, **raw).json()["data"][0]["embedding"]
    assert np.array_equal(np.frombuffer(base64.b64decode(encoded), "<f4"), vectors(api.post(PATH, **raw))[0])


def test_vectors(api: Api) -> None:
    rows = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    found = vectors(api.post(PATH, json={"model": TABLE, "inputs": rows.tolist()}))
    assert found == pytest.approx(of_samples(rows), abs=1e-4)
    assert np.array_equal(vectors(api.post(PATH, json={"model": TABLE, "inputs": rows[7].tolist()})), found[7:8])


def test_large_answers_are_the_same_numbers(make_api: Callable[..., Api]) -> None:
    rows = np.random.default_rng(0).normal(size=(1000, 3)).astype(np.float32)
    found = vectors(make_api(max_rows=1000).post(PATH, json={"model": TABLE, "inputs": rows.tolist()}))
    assert found == pytest.approx(of_samples(rows), abs=1e-4)


REFUSED: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "another size": ({"input": "To be", "dimensions": 3}, 422, "dimensions", "have 6 numbers, found 3"),
    "another encoding": ({"input": "To be", "encoding_format": "int8"}, 422, "encoding_format", "found 'int8'"),
    "an empty text": ({"input": ["To be", ""]}, 422, "input[1]", "found an empty text"),
    "a long text": ({"input": "a" * CONTEXT}, 422, "input", f"takes {CONTEXT - 1}: send parts"),
    "an unknown character": ({"input": "€"}, 422, "input", "not in the vocabulary"),
    "no texts": ({"input": []}, 422, "input", "expected at least one item"),
    "many texts": ({"input": ["a"] * 101}, 413, "input", "101 items, the limit is 100"),
    "nothing": ({"model": EMBEDDER}, 422, "image", f"model {EMBEDDER} embeds images: expected image or inputs"),
    "text for an image": ({"model": EMBEDDER, "input": "To be"}, 422, "image", "found input"),
    "text and image": ({"input": "To be", "inputs": [1]}, 422, "input", "found inputs and input"),
    "values out of range": ({"inputs": np.full((1, 8, 8), 2).tolist()}, 422, "inputs", "expected values in [0, 1]"),
    "a model that draws": ({"model": GENERATOR, "input": "To be"}, 422, "model", "cannot embed"),
    "nobody": ({"model": "nobody", "input": "To be"}, 404, "model", "there is no 'nobody'"),
    "tokens": ({"input": [1, 2]}, 422, "input", "string"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(api: Api, case: str) -> None:
    ask, status, field, says = REFUSED[case]
    answer = api.post(PATH, json=ask)
    assert answer.status_code == status, answer.text
    assert says in answer.json()["detail"]
    assert answer.json()["error"]["param"].startswith(field)


def test_a_picture_of_numbers_only(api: Api) -> None:
    answer = api.post(PATH, json={"input": "To be"}, headers={"accept": "image/png"})
    assert answer.status_code == 406
