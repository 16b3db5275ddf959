"""Rows are drawn as images are: by seed, between seeds, from latents; and come in every format that rows are sent in."""

from typing import Any

import numpy as np
import pytest

from service.codecs import columns, table
from service.samplers import latents, noise
from tests.service.api.client import Api, read_npy
from tests.toys.directories import GENERATOR, SAMPLER, TABLE, VALVES
from tests.toys.graphs import affine

SAMPLE = "/v1/rows/generations"
NPY = {"accept": "application/x-npy"}


def rows_of(api: Api, **ask: Any) -> list[dict[str, Any]]:
    answer = api.post(SAMPLE, json=ask)
    assert answer.status_code == 200, answer.text
    found = answer.json()["data"]
    assert [(item["object"], item["index"]) for item in found] == [("row", i) for i in range(len(found))]
    return [item["row"] for item in found]


def vectors_of(api: Api, **ask: Any) -> np.ndarray:
    return read_npy(api.post(SAMPLE, json=ask, headers=NPY))


def decoded(z: np.ndarray) -> np.ndarray:
    matrix, mean = affine(5)
    return z @ matrix + mean


def test_a_seed_draws_the_same_rows_however_many(api: Api) -> None:
    answer = api.post(SAMPLE, json={"n": 3, "seed": 7}).json()
    assert (answer["object"], answer["model"], answer["seed"]) == ("list", SAMPLER, 7)
    rows = rows_of(api, n=3, seed=7)
    assert [set(row) for row in rows] == [{"pressure", "flow", "valve"}] * 3
    assert rows_of(api, n=9, seed=7)[:3] == rows
    assert rows_of(api, n=3, seed=8) != rows
    np.testing.assert_allclose(vectors_of(api, n=3, seed=7), decoded(noise.normal(7, 3, (5,))), atol=1e-5)


def test_a_drawn_seed_is_told_and_draws_the_rows_again(api: Api) -> None:
    answer = api.post(SAMPLE, json={"n": 2}).json()
    again = api.post(SAMPLE, json={"n": 2, "seed": answer["seed"]})
    assert again.json()["data"] == answer["data"]
    told = api.post(SAMPLE, json={"n": 2, "seed": answer["seed"]}, headers=NPY).headers
    assert (told["x-amostra-model"], told["x-amostra-seed"]) == (SAMPLER, str(answer["seed"]))


def test_rows_lie_on_the_arc_between_seeds(api: Api) -> None:
    answer = api.post(SAMPLE, json={"n": 5, "seeds": [1, 2]}, headers=NPY)
    assert answer.headers["x-amostra-seeds"] == "[1, 2]"
    np.testing.assert_allclose(read_npy(answer), decoded(latents.path([1, 2], 5, (5,))), atol=1e-5)


def test_what_was_encoded_is_decoded_again_and_can_be_reckoned_with(api: Api) -> None:
    given = rows_of(api, n=3, seed=5)
    embedded = read_npy(api.post("/v1/embeddings", json={"model": SAMPLER, "inputs": given}, headers=NPY))
    a, b, c = embedded
    again = rows_of(api, n=3, latents=embedded.tolist())
    for row, known in zip(again, given, strict=True):
        assert (row["valve"], row["flow"] is None) == (known["valve"], known["flow"] is None)
        assert row["pressure"] == pytest.approx(known["pressure"], abs=1e-4)
    total = vectors_of(api, latents=[(a - b + c).tolist()])[0]
    np.testing.assert_allclose(total, decoded(a - b + c), atol=1e-4)


@pytest.mark.parametrize("media_type", table.MEDIA_TYPES)
def test_the_same_rows_come_in_every_format_of_tables(api: Api, media_type: str) -> None:
    answer = api.post(SAMPLE, json={"n": 20, "seed": 3}, headers={"accept": media_type})
    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, media_type)
    assert answer.headers["x-amostra-seed"] == "3"
    rows = rows_of(api, n=20, seed=3)
    assert {row["flow"] is None for row in rows} == {row["valve"] == "open" for row in rows} == {True, False}
    expected = columns.from_objects(rows, VALVES, "inputs")
    np.testing.assert_array_equal(table.decode(answer.content, media_type, VALVES, 100, 10**6), expected)


REFUSED: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "no rows": ({"n": 0}, 422, "n", "found 0"),
    "too many rows": ({"n": 101}, 413, "n", "101 rows, the limit is 100"),
    "seeds and a seed": ({"n": 2, "seeds": [1, 2], "seed": 1}, 422, "seeds", "send seeds alone"),
    "too few rows for seeds": ({"seeds": [1, 2]}, 422, "n", "ask for 2 or more"),
    "latents of another size": ({"latents": [[0.0] * 4]}, 422, "latents", "expected 1 × 5 numbers"),
    "a class of a model without": ({"label": 1}, 422, "label", "has no classes"),
    "steps": ({"steps": 3}, 422, "steps", "no such field"),
    "a model of images": ({"model": GENERATOR}, 422, "model", f"cannot sample; models that can: {SAMPLER}"),
    "a model without a decoder": ({"model": TABLE}, 422, "model", f"cannot sample; models that can: {SAMPLER}"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_drawn_is_refused_by_name(api: Api, case: str) -> None:
    ask, status, field, says = REFUSED[case]
    answer = api.post(SAMPLE, json=ask)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, field)
    assert says in answer.json()["detail"]


def test_rows_are_no_pictures(api: Api) -> None:
    assert api.post(SAMPLE, json={}, headers={"accept": "image/png"}).status_code == 406
    answer = api.post("/v1/images/generations", json={"model": SAMPLER})
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "model")
