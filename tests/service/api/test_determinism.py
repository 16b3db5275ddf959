"""Same model, same request, same seed: the same bytes, alone and among 31 other requests of every kind."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from contract import Capability
from contract.manifest import Data
from tests.service.api.client import Api, b64, events, npy, png
from tests.toys import directories, graphs
from tests.toys.directories import BIGRAM, CHARACTERS, DIFFUSION, PIXELS, TABLE, WRITER, normal_images

MASK = b64(npy(np.tri(8)))
ALONE: dict[str, dict[str, Any]] = {
    "images as JSON": {"path": "/v1/images/generations", "json": {"n": 7, "seed": 11}},
    "images as PNG": {
        "path": "/v1/images/generations",
        "json": {"n": 5, "seed": 11, "prompt": "4"},
        "headers": {"accept": "image/png"},
    },
    "images as npy": {
        "path": "/v1/images/generations",
        "json": {"n": 23, "seed": 12},
        "headers": {"accept": "application/x-npy"},
    },
    "images in steps": {
        "path": "/v1/images/generations",
        "json": {"model": DIFFUSION, "n": 5, "seed": 11, "guidance": 2.0, "response_format": "npy"},
    },
    "images in noisy steps": {
        "path": "/v1/images/generations",
        "json": {"model": DIFFUSION, "n": 3, "seed": 11, "sampler": "ancestral", "steps": 9, "prompt": "4"},
    },
    "images between seeds": {
        "path": "/v1/images/generations",
        "json": {"model": DIFFUSION, "n": 5, "seeds": [1, 2, 3], "sampler": "heun", "response_format": "npy"},
    },
    "images of pixels": {
        "path": "/v1/images/generations",
        "json": {"model": PIXELS, "n": 3, "seed": 4, "temperature": 0.8},
    },
    "an edit": {
        "path": "/v1/images/edits",
        "json": {"image": b64(npy(normal_images(1, seed=3))), "mask": MASK, "n": 3, "seed": 6, "sampler": "ancestral"},
    },
    "an edit of pixels": {
        "path": "/v1/images/edits",
        "json": {"model": PIXELS, "image": b64(npy(normal_images(1, seed=3))), "mask": MASK, "n": 2, "seed": 6},
    },
    "a larger image": {"path": "/v1/images/restore", "json": {"image": b64(npy(normal_images(2, seed=3)))}},
    "an image clean by diffusion": {
        "path": "/v1/images/denoise",
        "json": {"model": DIFFUSION, "image": b64(npy(normal_images(2, seed=3)))},
    },
    "a clean image": {
        "path": "/v1/images/denoise",
        "content": npy(normal_images(3, seed=1)),
        "headers": {"content-type": "application/x-npy", "accept": "application/x-npy"},
    },
    "a clean image of another size, by sigma": {
        "path": "/v1/images/denoise",
        "json": {"image": b64(png(np.random.default_rng(0).random((1, 9, 13)))), "sigma": 0.1},
    },
    "rows": {"path": "/v1/rows/generations", "json": {"n": 7, "seed": 11}},
    "rows between seeds": {
        "path": "/v1/rows/generations",
        "json": {"n": 5, "seeds": [1, 2, 3]},
        "headers": {"accept": "text/csv"},
    },
    "scores of images": {"path": "/v1/score", "json": {"inputs": normal_images(9, seed=2).tolist()}},
    "scores of vectors": {"path": "/v1/score", "json": {"model": TABLE, "inputs": [[0.4, 0.5, 0.7], [0.1, 0.2, 0.3]]}},
    "scores of texts": {"path": "/v1/score", "json": {"input": ["To be, or not to be", "a" * 70, "x"]}},
    "embeddings of images": {"path": "/v1/embeddings", "json": {"inputs": normal_images(9, seed=2).tolist()}},
    "embeddings of texts": {"path": "/v1/embeddings", "json": {"input": ["To be", "or not to be", "x"]}},
    "text of a model without a past": {
        "path": "/v1/completions",
        "json": {"model": BIGRAM, "prompt": "To be", "max_tokens": 60, "seed": 5, "n": 2, "logprobs": 2},
    },
    "text": {"path": "/v1/completions", "json": {"prompt": "To be", "max_tokens": 60, "seed": 5, "n": 2}},
    "text with everything": {
        "path": "/v1/completions",
        "json": {"prompt": "or not", "max_tokens": 40, "seed": 6, "logprobs": 3, "echo": True, "top_p": 0.9},
    },
    "a stream": {
        "path": "/v1/completions",
        "json": {"prompt": "To", "max_tokens": 40, "seed": 7, "stream": True, "temperature": 0.7, "logprobs": 1},
    },
}


def crowd(chance: random.Random) -> list[dict[str, Any]]:
    """31 requests of every kind, none of them the same twice."""

    def one() -> dict[str, Any]:
        seed = chance.randrange(10**6)
        image = np.random.default_rng(seed).random((chance.choice([1, 3]), 1, 8, chance.choice([8, 13])))
        text = "".join(chance.choices(CHARACTERS, k=chance.randrange(1, 30)))
        return chance.choice(
            [
                {"path": "/v1/images/generations", "json": {"n": chance.randrange(1, 40), "seed": seed}},
                {
                    "path": "/v1/images/generations",
                    "json": {
                        "model": DIFFUSION,
                        "n": chance.randrange(1, 9),
                        "seed": seed,
                        "steps": chance.randrange(1, 20),
                        "sampler": chance.choice(["dpmpp_2m", "heun", "euler", "ancestral"]),
                        "guidance": chance.choice([1, 2]),
                    },
                },
                {
                    "path": "/v1/images/edits",
                    "json": {
                        "model": chance.choice([DIFFUSION, PIXELS]),
                        "image": b64(npy(image[:1, ..., :8])),
                        "mask": MASK,
                        "seed": seed,
                    },
                },
                {"path": "/v1/images/restore", "json": {"image": b64(npy(image))}},
                {"path": "/v1/images/denoise", "json": {"image": b64(npy(image)), "response_format": "npy"}},
                {"path": "/v1/score", "json": {"inputs": image[..., :8].tolist()}},
                {"path": "/v1/score", "json": {"model": TABLE, "inputs": image[0, 0, :, :3].tolist()}},
                {"path": "/v1/score", "json": {"input": [text, text[::-1]]}},
                {"path": "/v1/embeddings", "json": {"inputs": image[..., :8].tolist()}},
                {"path": "/v1/embeddings", "json": {"input": [text, text[::2]]}},
                {
                    "path": "/v1/completions",
                    "json": {
                        "model": chance.choice([WRITER, BIGRAM]),
                        "prompt": text,
                        "max_tokens": chance.randrange(60),
                        "seed": seed,
                        "temperature": chance.choice([0, 1, 2]),
                        "stream": chance.random() < 0.5,
                        "stop": chance.choice(CHARACTERS),
                    },
                },
            ]
        )

    return [one() for _ in range(31)]


def said(answer: httpx.Response) -> Any:
    """The whole answer, but for what tells requests apart: their id, and the second that they came in."""
    assert answer.status_code == 200, answer.text
    if answer.headers["content-type"] == "application/json":
        return {k: v for k, v in answer.json().items() if k not in ("id", "created")}
    if answer.headers["content-type"].startswith("text/event-stream"):
        pieces = events(answer)
        return sorted((e["choices"][0]["index"], i, str(e["choices"])) for i, e in enumerate(pieces))
    return answer.content


@pytest.mark.parametrize("case", ALONE)
def test_the_same_bytes_alone_and_in_a_crowd(api: Api, case: str) -> None:
    request = {"method": "POST", **ALONE[case]}
    alone = said(api.together([request])[0])
    for seed in range(3):
        others = [{"method": "POST", **other} for other in crowd(random.Random(f"{case} {seed}"))]
        at = random.Random(seed).randrange(32)
        answers = api.together([*others[:at], request, *others[at:]])
        assert all(answer.status_code == 200 for answer in answers)
        assert said(answers[at]) == alone


def test_the_same_bytes_thirty_two_times_at_once(api: Api) -> None:
    for case, request in ALONE.items():
        answers = [said(answer) for answer in api.together([{"method": "POST", **request}] * 32)]
        assert all(answer == answers[0] for answer in answers), case


def test_other_seeds_give_other_bytes(api: Api) -> None:
    for path, ask in (("/v1/images/generations", {"response_format": "npy"}), ("/v1/completions", {"max_tokens": 30})):
        asks = [{"method": "POST", "path": path, "json": {**ask, "seed": seed}} for seed in range(16)]
        assert len({str(said(answer)) for answer in api.together(asks)}) == 16


def test_a_row_s_place_does_not_matter_even_where_the_graph_cares(make_api: Callable[..., Api], store: Path) -> None:
    """Reductions over rows of odd length give other bits in other places of a batch."""
    data = Data(kind="vector", dataset="toy", shape=(9,))
    parts = {Capability.LOG_DENSITY: graphs.uneven(9)}
    directories.write_model(store, "uneven", parts, density="energy", data=data)
    api = make_api()
    rng = np.random.default_rng(0)
    row = rng.normal(size=9).tolist()
    (alone,) = api.post("/v1/score", json={"model": "uneven", "inputs": row}).json()["data"]
    for place in range(20):
        rows = [*rng.normal(size=(place, 9)).tolist(), row, *rng.normal(size=(20 - place, 9)).tolist()]
        scores = api.post("/v1/score", json={"model": "uneven", "inputs": rows}).json()["data"]
        assert scores[place]["log_prob"] == alone["log_prob"]
