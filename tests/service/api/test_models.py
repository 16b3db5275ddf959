"""Routes of models: OpenAI's list, what each can do, and what was refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.service.api.client import Api
from tests.toys import directories
from tests.toys.broken import BROKEN
from tests.toys.directories import DENOISER, DENSITY, DETECTOR, EMBEDDER, GENERATOR, TOYS, WRITER


def test_the_list_is_openai_s_with_more(api: Api) -> None:
    body = api.get("/v1/models").json()
    assert body["object"] == "list"
    by_id = {model["id"]: model for model in body["data"]}
    assert set(by_id) == set(TOYS)
    for model in by_id.values():
        assert (model["object"], model["owned_by"], model["version"]) == ("model", "amostra", "1")
        assert (model["state"], model["problem"], model["family"]) == ("ready", None, "toy")
        assert model["created"] > 1.7e9
        assert set(model["providers"].values()) == {"CPUExecutionProvider"}
    assert by_id[WRITER]["tasks"] == ["score", "complete"]
    assert by_id[WRITER]["capabilities"] == ["log_density", "next_token"]
    assert by_id[GENERATOR]["tasks"] == ["generate"]
    assert by_id[WRITER]["default_for"] == ["complete"]
    assert by_id[GENERATOR]["default_for"] == ["generate"]
    assert by_id[GENERATOR]["data"]["kind"] == "image"
    assert by_id[GENERATOR]["data"]["class_names"] == list("0123456789")
    said = ("restores", "samplers", "sigma_range", "latent_size")
    assert [by_id[GENERATOR][name] for name in said] == [None, [], None, 4]
    assert [by_id[DENOISER][name] for name in said] == ["noise", [], [0.0, 55 / 255], None]


def test_one_model_with_its_manifest(api: Api) -> None:
    for name in (GENERATOR, f"{GENERATOR}@1"):
        body = api.get(f"/v1/models/{name}").json()
        assert body["id"] == GENERATOR
        assert body["manifest"]["name"] == GENERATOR
        assert body["manifest"]["data"]["class_names"] == list("0123456789")
        assert body["manifest"]["capabilities"]["decode"]["file"] == "decode.onnx"


def test_a_model_that_is_not_there(api: Api) -> None:
    for name in ("nobody", f"{GENERATOR}@7"):
        answer = api.get(f"/v1/models/{name}")
        assert answer.status_code == 404
        assert answer.json()["error"]["param"] == "model"
        assert name in answer.json()["detail"]


def test_the_sheet_is_the_picture_that_came_with_the_model(api: Api) -> None:
    answer = api.get(f"/v1/models/{EMBEDDER}/sheet")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.content == (api.settings.models / EMBEDDER / "1/sheet.png").read_bytes()
    assert api.get(f"/v1/models/{EMBEDDER}@1/sheet").content == answer.content


def test_a_model_without_a_sheet_says_so(api: Api) -> None:
    for name, says in ((GENERATOR, "came without a sample sheet"), ("nobody", "there is no 'nobody'")):
        answer = api.get(f"/v1/models/{name}/sheet")
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
        assert says in answer.json()["detail"]


def test_what_was_refused_is_listed_with_its_reason(make_api: Callable[..., Api], store: Path) -> None:
    breakage = BROKEN["wrong hash"]
    breakage.spoil(breakage.write(store, version="2"))
    api = make_api()
    assert len(api.get("/v1/models").json()["data"]) == len(TOYS)
    everything = api.get("/v1/models", params={"state": "all"}).json()["data"]
    assert len(everything) == len(TOYS) + 1
    refused = next(model for model in everything if model["version"] == "2")
    assert (refused["id"], refused["state"], refused["tasks"]) == (GENERATOR, "refused", [])
    for part in breakage.says:
        assert part in refused["problem"]
    one = api.get(f"/v1/models/{GENERATOR}@2").json()
    assert (one["state"], one["manifest"]) == ("refused", None)
    assert api.get(f"/v1/models/{GENERATOR}").json()["version"] == "1"


def test_content_that_became_bad_is_told_while_the_former_serves(make_api: Callable[..., Api], store: Path) -> None:
    api = make_api()
    BROKEN["wrong hash"].spoil(store / GENERATOR / "1")
    api.catalog.refresh()
    api.catalog.refresh()
    assert api.post("/v1/images/generations", json={}).status_code == 200
    model = next(m for m in api.get("/v1/models").json()["data"] if m["id"] == GENERATOR)
    assert model["state"] == "ready"
    assert "expected sha256" in model["problem"]


def test_a_model_that_is_dropped_in_serves(make_api: Callable[..., Api], store: Path) -> None:
    api = make_api()
    directories.write_generator(store, "newcomer", seed=9)
    api.catalog.refresh()
    api.catalog.refresh()
    assert "newcomer" in {model["id"] for model in api.get("/v1/models").json()["data"]}
    ask = {"seed": 1, "response_format": "npy"}
    new = api.post("/v1/images/generations", json={"model": "newcomer", **ask})
    assert new.status_code == 200
    assert new.content != api.post("/v1/images/generations", json=ask).content


def test_how_the_scores_of_normal_items_are_spread(api: Api) -> None:
    for name in (DENSITY, DETECTOR):
        answer = api.get(f"/v1/models/{name}/calibration")
        assert answer.status_code == 200
        body = answer.json()
        manifest = api.get(f"/v1/models/{name}").json()["manifest"]
        assert body["size"] == manifest["calibration"]["size"]
        assert body["statistic"] in body["quantiles"]
        assert (body["levels"][0], body["levels"][50], body["levels"][-1]) == (0, 0.5, 1)
        known = np.load(api.settings.models / name / "1" / manifest["calibration"]["scores"]["file"])
        for row, quantiles in zip(known.reshape(-1, body["size"]), body["quantiles"].values(), strict=True):
            assert quantiles == sorted(quantiles)
            assert (quantiles[0], quantiles[-1]) == (row.min(), row.max())
            assert abs(quantiles[50] - np.median(row)) < 1e-9


def test_a_model_without_calibration_says_so(api: Api) -> None:
    answer = api.get(f"/v1/models/{GENERATOR}/calibration")
    assert answer.status_code == 422
    assert "cannot score" in answer.json()["detail"]
    assert api.get("/v1/models/nobody/calibration").status_code == 404
