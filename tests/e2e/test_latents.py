"""Latents of the shipped models over HTTP: every model that encodes and decodes walks between seeds and reckons a - b + c."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from contract import Capability, read_manifest
from service.samplers import latents, noise
from tests.service.api.client import npy, read_npy, read_png

ROOT = Path(__file__).parents[2]
MANIFESTS = {path.parents[1].name: read_manifest(path.parent) for path in ROOT.glob("exported/*/*/manifest.json")}
CODES = {name: m for name, m in MANIFESTS.items() if {Capability.ENCODE, Capability.DECODE} <= m.capabilities.keys()}
IMAGES, ROWS = (sorted(name for name, m in CODES.items() if m.data.kind == kind) for kind in ("image", "vector"))
EXACT = ("mnist-flow",)
"""Those whose decoder undoes their encoder."""
NPY = {"accept": "application/x-npy"}
HALF_LEVEL = 0.5 / 255


@pytest.fixture(scope="module")
def http(shipped_service: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=shipped_service, timeout=60) as client:
        yield client


def drawn(http: httpx.Client, model: str, **ask: Any) -> np.ndarray:
    route = "/v1/rows/generations" if model in ROWS else "/v1/images/generations"
    return read_npy(http.post(route, json={"model": model, **ask}, headers=NPY))


def decoded(http: httpx.Client, model: str, z: np.ndarray) -> np.ndarray:
    return drawn(http, model, n=len(z), latents=z.tolist())


def encoded(http: httpx.Client, model: str, samples: np.ndarray) -> np.ndarray:
    if model in ROWS:
        return read_npy(http.post("/v1/embeddings", json={"model": model, "inputs": samples.tolist()}, headers=NPY))
    headers = NPY | {"content-type": "application/x-npy"}
    return read_npy(http.post("/v1/embeddings", params={"model": model}, content=npy(samples), headers=headers))


def digits(http: httpx.Client) -> np.ndarray:
    """A bold and a thin five and a thin three; then ten digits of another model, and noise: (23, 1, 28, 28)."""
    names = ("bold-five", "thin-five", "thin-three")
    known = np.stack([read_png((ROOT / f"docs/pictures/{name}.png").read_bytes())[None] for name in names])
    others = drawn(http, "mnist-gan", n=10, seed=1)
    anything = np.random.default_rng(0).random((10, 1, 28, 28), np.float32)
    return np.concatenate([known, np.rint(255 * np.concatenate([others, anything]))]).astype(np.float32) / np.float32(
        255
    )


def test_there_are_such_models_of_both_kinds() -> None:
    assert {"mnist-autoencoder", "mnist-vae", *EXACT} <= set(IMAGES)
    assert "pendigits-flow" in ROWS


@pytest.mark.parametrize("model", [*IMAGES, *ROWS])
def test_a_walk_begins_and_ends_at_its_seeds_and_is_made_of_latents(http: httpx.Client, model: str) -> None:
    walk = drawn(http, model, n=5, seeds=[7, 35])
    for place, seed in ((0, 7), (4, 35)):
        np.testing.assert_array_equal(walk[place], drawn(http, model, seed=seed)[0])
    size = CODES[model].latent.size  # type: ignore[union-attr]
    np.testing.assert_array_equal(decoded(http, model, latents.path([7, 35], 5, (size,))), walk)
    np.testing.assert_array_equal(decoded(http, model, noise.normal(7, 3, (size,))), drawn(http, model, seed=7, n=3))


@pytest.mark.parametrize("model", EXACT)
def test_an_exact_code_gives_every_picture_back(http: httpx.Client, model: str) -> None:
    """Also pictures that it would never draw, and sums in which all but one of them cancel out."""
    given = digits(http)
    z = encoded(http, model, given)
    assert np.abs(decoded(http, model, z) - given).max() < HALF_LEVEL
    assert np.abs(decoded(http, model, z - z[::-1] + z[::-1]) - given).max() < HALF_LEVEL


@pytest.mark.parametrize("model", sorted(set(IMAGES) - set(EXACT)))
def test_a_code_gives_a_digit_back_and_boldness_can_be_added(http: httpx.Client, model: str) -> None:
    given = digits(http)[:3]
    z = encoded(http, model, given)
    again = decoded(http, model, z)
    assert ((again - given) ** 2).mean() < 0.02
    bold, thin, other = z
    (total,) = decoded(http, model, (bold - thin + other)[None])
    assert total.mean() > 1.2 * again[2].mean(), "as bold as the five"
    assert ((total - again[2]) ** 2).mean() < ((total - again[0]) ** 2).mean(), "a three"


@pytest.mark.parametrize("model", ROWS)
def test_rows_come_back_from_their_codes_and_can_be_reckoned_with(http: httpx.Client, model: str) -> None:
    given = drawn(http, model, n=30, seed=1)
    z = encoded(http, model, given)
    np.testing.assert_allclose(z, noise.normal(1, 30, z.shape[1:]), atol=2e-2)
    np.testing.assert_allclose(decoded(http, model, z), given, atol=1e-3)
    total = z[:10] - z[10:20] + z[20:]
    np.testing.assert_allclose(encoded(http, model, decoded(http, model, total)), total, atol=5e-2)
    rows = http.post("/v1/rows/generations", json={"model": model, "n": 10, "latents": total.tolist()}).json()["data"]
    scored = http.post("/v1/score", json={"model": model, "inputs": [row["row"] for row in rows]}).json()["data"]
    assert all(np.isfinite(item["log_prob"]) for item in scored)
