"""The shipped models give the same bytes alone and among 31 other concurrent requests, over the network."""

import asyncio
import random
from typing import Any

import httpx
import numpy as np
import pytest

from tests.service.api.client import npy, said

RNG = np.random.default_rng(0)
DIGITS = RNG.random((3, 1, 28, 28)).astype(np.float32).round(3)
PHOTOGRAPH = RNG.random((1, 1, 61, 83)).astype(np.float32)
NPY = {"content-type": "application/x-npy", "accept": "application/x-npy"}
VERSE = "First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\nSpeak, speak.\n"

ALONE: dict[str, dict[str, Any]] = {
    "images": {"url": "/v1/images/generations", "json": {"n": 5, "seed": 1, "response_format": "npy"}},
    "a picture": {"url": "/v1/images/generations", "json": {"prompt": "7", "seed": 2, "response_format": "png"}},
    "a clean photograph": {"url": "/v1/images/denoise", "content": npy(PHOTOGRAPH), "headers": NPY},
    "scores of images": {"url": "/v1/score", "json": {"inputs": DIGITS.tolist()}},
    "scores of texts": {"url": "/v1/score", "json": {"input": [VERSE, VERSE[:30], VERSE[5:25], VERSE * 5]}},
    "text": {"url": "/v1/completions", "json": {"prompt": "ROMEO:", "max_tokens": 60, "seed": 3, "logprobs": 2}},
    "a stream": {"url": "/v1/completions", "json": {"prompt": "O", "max_tokens": 60, "seed": 4, "stream": True}},
}


def crowd(chance: random.Random) -> list[dict[str, Any]]:
    def one() -> dict[str, Any]:
        seed, count, start = chance.randrange(10**6), chance.randrange(1, 6), chance.randrange(40)
        text = VERSE[start : start + chance.randrange(1, 40)]
        return chance.choice(
            [
                {"url": "/v1/images/generations", "json": {"n": count, "seed": seed}},
                {"url": "/v1/images/denoise", "content": npy(PHOTOGRAPH[:, :, :40, : 40 + count]), "headers": NPY},
                {"url": "/v1/score", "json": {"inputs": DIGITS[: count % 3 + 1].tolist()}},
                {"url": "/v1/score", "json": {"input": [text] * count}},
                {"url": "/v1/completions", "json": {"prompt": text, "max_tokens": 8 * count, "seed": seed}},
            ]
        )

    return [one() for _ in range(31)]


@pytest.mark.parametrize("case", ALONE)
def test_the_same_bytes_alone_and_in_a_crowd(shipped_service: str, case: str) -> None:
    async def all_at_once(requests: list[dict[str, Any]]) -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=shipped_service, timeout=60) as client:
            return await asyncio.gather(*(client.post(**request) for request in requests))

    (alone,) = asyncio.run(all_at_once([ALONE[case]]))
    others = crowd(random.Random(case))
    answers = asyncio.run(all_at_once([*others[:11], ALONE[case], *others[11:]]))
    assert said(answers[11]) == said(alone)
    assert {answer.status_code for answer in answers} == {200}
