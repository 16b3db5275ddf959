"""The shipped models keep what their manifests promise, measured through the service on real data."""

import io
import math
import os
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.bars import bar

DATA = os.environ.get("AMOSTRA_DATA")
pytestmark = pytest.mark.skipif(DATA is None, reason="AMOSTRA_DATA names no folder of real data")
NPY = {"content-type": "application/x-npy", "accept": "application/x-npy"}


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def measured(url: str, model: str, metric: str) -> float:
    manifest = httpx.get(f"{url}/v1/models/{model}").json()["manifest"]
    return next(m["value"] for m in manifest["evaluation"] if m["metric"] == metric)


@pytest.fixture(scope="module")
def client(shipped_service: str) -> Any:
    with httpx.Client(base_url=shipped_service, timeout=300) as client:
        yield client


def test_photo_denoiser_on_set12(client: httpx.Client) -> None:
    from training.data.images import image_list
    from training.evaluation.images import psnr

    ratios = []
    for number, photograph in enumerate(image_list("set12", Path(DATA or ""))):
        truth = photograph.astype(np.float32) / 255
        noise = np.random.default_rng([0, 25, number]).standard_normal(truth.shape, np.float32)
        answer = client.post("/v1/images/denoise", content=npy(truth + 25 / 255 * noise), headers=NPY)
        assert answer.status_code == 200, answer.text
        ratios.append(psnr(np.load(io.BytesIO(answer.content))[0, 0], truth))
    metric = "PSNR at sigma 25/255, blind"
    assert np.mean(ratios) >= bar("photo-denoiser", metric)
    promised = measured(str(client.base_url), "photo-denoiser", metric)
    assert np.mean(ratios) == pytest.approx(promised, abs=0.01)


def test_mnist_flow_flags_as_many_as_it_should(client: httpx.Client) -> None:
    from training.data.images import images

    pixels, _ = images("mnist", "test", Path(DATA or ""))
    flagged = 0
    for start in range(0, len(pixels), 1000):
        part = pixels[start : start + 1000].numpy()
        answer = client.post(
            "/v1/score", params={"alpha": 0.05}, content=npy(part), headers={"content-type": NPY["content-type"]}
        )
        assert answer.status_code == 200, answer.text
        flagged += sum(item["is_anomaly"] for item in answer.json()["data"])
    assert 0.04 <= flagged / len(pixels) <= 0.06


def test_mnist_gan_draws_what_was_asked_for(client: httpx.Client) -> None:
    from training.evaluation.judge import Judge

    judge = Judge(Path(__file__).parents[2] / "exported" / "mnist-features" / "1")
    drawn = []
    for digit in range(10):
        ask = {"prompt": str(digit), "n": 100, "seed": 100 + digit}
        answer = client.post("/v1/images/generations", json=ask, headers={"accept": NPY["accept"]})
        assert answer.status_code == 200, answer.text
        drawn.append(np.load(io.BytesIO(answer.content)))
    assert (judge.classes(np.concatenate(drawn)) == np.repeat(np.arange(10), 100)).mean() >= 0.95


def test_shakespeare_gpt_scores_text_as_it_was_evaluated(client: httpx.Client) -> None:
    from training.data.texts import split_text, text

    held_out = split_text(text("tinyshakespeare", Path(DATA or "")))[1]
    answer = client.post("/v1/score", json={"model": "shakespeare-gpt", "input": held_out})
    assert answer.status_code == 200, answer.text
    item = answer.json()["data"][0]
    assert math.log(item["perplexity"]) <= bar("shakespeare-gpt", "validation loss")
    promised = measured(str(client.base_url), "shakespeare-gpt", "perplexity")
    assert item["perplexity"] == pytest.approx(promised, rel=1e-3)
