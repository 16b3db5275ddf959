"""Route of scores: images, vectors and text, each with its log-density and how unusual that is."""

import io
import math
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from contract.manifest import Density
from service.tasks.score import conditional
from tests.service.api.client import Api, b64, npy, png, read_npy
from tests.toys import directories
from tests.toys.directories import CHARACTERS, CONTEXT, DENSITY, DETECTOR, SENSORS, TABLE, WRITER, normal_images
from tests.toys.graphs import gaussian_log_prob, normality_of

SCORE = "/v1/score"
FIELDS = {"index", "score", "p_value", "is_anomaly", "log_prob", "bits_per_dim"}


def on_levels(count: int, seed: int = 3) -> np.ndarray:
    """Normal images as a PNG holds them. (count, 1, 8, 8)."""
    return (np.rint(normal_images(count, seed) * 255) / 255).astype(np.float32)


def every_way_to_send(images: np.ndarray, **fields: Any) -> dict[str, dict[str, Any]]:
    parts = [("image", (f"{i}.png", png(image), "image/png")) for i, image in enumerate(images)]
    form = {name: str(value) for name, value in fields.items()}
    raw = {"content-type": "application/x-npy"}
    return {
        "npy": {"content": npy(images), "params": fields, "headers": raw},
        "multipart": {"files": parts, "data": form},
        "multipart, fields in the query": {"files": parts, "params": fields},
        "json base64": {"json": {"image": [b64(png(image)) for image in images], **fields}},
        "json numbers": {"json": {"inputs": images.tolist(), **fields}},
        "json numbers without channels": {"json": {"inputs": images[:, 0].tolist(), **fields}},
    }


class TestImages:
    def test_what_is_answered(self, api: Api) -> None:
        images = on_levels(3)
        body = api.post(SCORE, json={"inputs": images.tolist(), "alpha": 0.1}).json()
        assert {k: v for k, v in body.items() if k != "data"} == {
            "object": "list",
            "model": DENSITY,
            "alpha": 0.1,
            "fdr": None,
            "statistic": "log_prob",
            "density": "exact",
            "calibration": {
                "size": 499,
                "statistic": "log_prob",
                "data": "toy, held out",
                "smallest_p_value": pytest.approx(1 / 500),
            },
        }
        expected = gaussian_log_prob(images)
        for i, item in enumerate(body["data"]):
            assert set(item) == FIELDS
            assert item["index"] == i
            assert item["score"] == item["log_prob"]
            assert item["log_prob"] == pytest.approx(expected[i], abs=1e-3)
            assert item["bits_per_dim"] == pytest.approx(-expected[i] / 64 / math.log(2), abs=1e-4)
            assert item["is_anomaly"] == (item["p_value"] <= 0.1)

    def test_every_way_to_send_gives_the_same(self, api: Api) -> None:
        images = on_levels(4)
        answers = {way: api.post(SCORE, **request).json() for way, request in every_way_to_send(images).items()}
        assert len(answers["npy"]["data"]) == 4
        for way, answer in answers.items():
            assert answer == answers["npy"], way

    def test_a_picture_as_the_body(self, api: Api) -> None:
        image = on_levels(1)[0]
        raw = api.post(SCORE, content=png(image), headers={"content-type": "image/png"}).json()
        assert raw == api.post(SCORE, json={"inputs": image.tolist()}).json()

    def test_normal_images_pass_and_strange_ones_are_flagged(self, api: Api) -> None:
        normal = api.post(SCORE, json={"inputs": normal_images(100, seed=8).tolist()}).json()
        assert normal["alpha"] == 0.05
        assert sum(item["is_anomaly"] for item in normal["data"]) <= 15
        strange = api.post(SCORE, json={"inputs": np.zeros((1, 8, 8)).tolist()}).json()["data"][0]
        assert strange["is_anomaly"]
        assert strange["p_value"] == pytest.approx(1 / 500)

    @pytest.mark.parametrize("way", ["npy", "multipart", "multipart, fields in the query", "json numbers"])
    def test_alpha_decides_what_an_anomaly_is(self, api: Api, way: str) -> None:
        images = on_levels(20)
        for alpha in (0.01, 0.5, 0.99):
            body = api.post(SCORE, **every_way_to_send(images, alpha=alpha)[way]).json()
            assert body["alpha"] == alpha
            assert [i["is_anomaly"] for i in body["data"]] == [i["p_value"] <= alpha for i in body["data"]]

    @pytest.mark.parametrize("density", ["energy", "critic"])
    def test_what_is_no_density_has_no_bits(self, make_api: Callable[..., Api], store: Path, density: Density) -> None:
        directories.write_density(store, "judge", density=density)
        body = make_api().post(SCORE, json={"model": "judge", "inputs": on_levels(2).tolist()}).json()
        assert body["density"] == density
        for item in body["data"]:
            assert set(item) == FIELDS
            assert item["bits_per_dim"] is None
            assert 0 < item["p_value"] <= 1

    def test_an_item_does_not_depend_on_the_others(self, api: Api) -> None:
        images = on_levels(40)
        together = api.post(SCORE, json={"inputs": images.tolist()}).json()["data"]
        for i in (0, 17, 39):
            (alone,) = api.post(SCORE, json={"inputs": images[i].tolist()}).json()["data"]
            assert alone == {**together[i], "index": 0}


class TestVectors:
    def test_rows(self, api: Api) -> None:
        rows = np.random.default_rng(0).normal(0.5, 0.1, (5, 3)).astype(np.float32)
        body = api.post(SCORE, json={"model": TABLE, "inputs": rows.tolist()}).json()
        assert body["calibration"] is None
        assert [item["log_prob"] for item in body["data"]] == pytest.approx(gaussian_log_prob(rows).tolist(), abs=1e-4)
        assert all(item["p_value"] is item["is_anomaly"] is None for item in body["data"])

    def test_a_single_row_needs_no_list_around_it(self, api: Api) -> None:
        one = api.post(SCORE, json={"model": TABLE, "inputs": [0.1, 0.2, 0.3]}).json()
        assert one == api.post(SCORE, json={"model": TABLE, "inputs": [[0.1, 0.2, 0.3]]}).json()
        assert len(one["data"]) == 1


class TestStatistics:
    def test_the_default_decides_and_all_are_told(self, api: Api) -> None:
        images = on_levels(5)
        body = api.post(SCORE, json={"model": DETECTOR, "inputs": images.tolist()}).json()
        assert (body["statistic"], body["density"]) == ("farthest", None)
        expected = normality_of(images)
        for item, (log_prob, farthest) in zip(body["data"], expected, strict=True):
            assert item["scores"] == pytest.approx({"log_prob": log_prob, "farthest": farthest}, abs=1e-3)
            assert item["score"] == item["scores"]["farthest"]
            assert item["log_prob"] == item["scores"]["log_prob"]
            assert item["p_value"] == item["p_values"]["farthest"]

    def test_a_request_may_choose_another(self, api: Api) -> None:
        images = on_levels(5)
        body = api.post(SCORE, json={"model": DETECTOR, "inputs": images.tolist(), "statistic": "log_prob"}).json()
        assert body["statistic"] == "log_prob"
        for item in body["data"]:
            assert item["score"] == item["log_prob"]
            assert item["p_value"] == item["p_values"]["log_prob"]
            assert item["is_anomaly"] == (item["p_value"] <= 0.05)

    def test_one_that_is_not_there_is_refused(self, api: Api) -> None:
        answer = api.post(SCORE, json={"model": DETECTOR, "inputs": on_levels(1).tolist(), "statistic": "luck"})
        assert answer.status_code == 422
        assert answer.json()["error"]["param"] == "statistic"
        assert "log_prob, farthest" in answer.json()["error"]["message"]


class TestFalseDiscoveries:
    def test_those_that_benjamini_and_hochberg_would_flag(self, api: Api) -> None:
        images = np.concatenate([on_levels(30), np.zeros((10, 1, 8, 8), np.float32)])
        body = api.post(SCORE, json={"inputs": images.tolist(), "fdr": 0.1}).json()
        assert (body["alpha"], body["fdr"]) == (None, 0.1)
        p = np.array([item["p_value"] for item in body["data"]])
        certain = conditional(p, body["calibration"]["size"])
        ranked = np.sort(certain)
        bar = max(ranked[i] for i in range(40) if ranked[i] <= 0.1 * (i + 1) / 40)
        assert [item["is_anomaly"] for item in body["data"]] == (certain <= bar).tolist()
        assert all(item["is_anomaly"] for item in body["data"][30:])

    def test_alpha_and_fdr_exclude_each_other(self, api: Api) -> None:
        answer = api.post(SCORE, json={"inputs": on_levels(1).tolist(), "alpha": 0.1, "fdr": 0.1})
        assert answer.status_code == 422
        assert answer.json()["error"]["param"] == "fdr"


class TestExplanations:
    def test_of_an_image_pixel_by_pixel(self, api: Api) -> None:
        image = on_levels(1)
        image[0, 0, 2, 5] = 1.0
        (item,) = api.post(SCORE, json={"model": DETECTOR, "inputs": image.tolist(), "explain": True}).json()["data"]
        surprise = np.array(item["surprise"])
        assert surprise.shape == (1, 8, 8)
        assert np.unravel_index(surprise.argmax(), surprise.shape) == (0, 2, 5)

    def test_as_numbers(self, api: Api) -> None:
        ask = {"model": DETECTOR, "inputs": on_levels(3).tolist(), "explain": True}
        surprise = read_npy(api.post(SCORE, json=ask, headers={"accept": "application/x-npy"}))
        assert (surprise.dtype, surprise.shape) == (np.float32, (3, 1, 8, 8))
        written = [item["surprise"] for item in api.post(SCORE, json=ask).json()["data"]]
        assert np.array_equal(surprise, np.array(written, np.float32))

    def test_as_a_picture_that_is_red_where_it_is_strange(self, api: Api) -> None:
        image = np.full((1, 8, 8), 0.5, np.float32)
        image[0, 2, 5] = 0.0
        answer = api.post(SCORE, json={"model": DETECTOR, "inputs": image.tolist()}, headers={"accept": "image/png"})
        assert answer.headers["content-type"] == "image/png"
        picture = np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"), int)
        redness = picture[..., 0] - picture[..., 1]
        assert np.unravel_index(redness.argmax(), redness.shape) == (2, 5)
        assert redness[2, 5] > 100
        assert np.delete(redness.ravel(), 2 * 8 + 5).max() < 20

    def test_of_a_row_by_the_names_of_its_columns(self, api: Api) -> None:
        ask = {"model": SENSORS, "inputs": [[0.5, 3.0, "shut"]], "explain": True}
        (item,) = api.post(SCORE, json=ask).json()["data"]
        assert list(item["surprise"]) == ["pressure", "flow", "valve"]
        assert max(item["surprise"], key=item["surprise"].get) == "flow"

    def test_of_a_text_token_by_token(self, api: Api) -> None:
        text = "To be, or not to be: " * 3
        (item,) = api.post(SCORE, json={"input": text, "explain": True}).json()["data"]
        assert "".join(token["token"] for token in item["surprise"]) == text
        assert -sum(token["surprise"] for token in item["surprise"]) == pytest.approx(item["log_prob"], abs=1e-3)

    @pytest.mark.parametrize("accept", ["application/json", "application/x-npy", "image/png"])
    def test_a_model_that_cannot_say_refuses(self, api: Api, accept: str) -> None:
        ask = {"model": DENSITY, "inputs": on_levels(1).tolist(), "explain": True}
        answer = api.post(SCORE, json=ask, headers={"accept": accept})
        assert answer.status_code == 422
        assert answer.json()["error"]["param"] == "explain"


class TestDrift:
    def test_normal_traffic_does_not_drift_and_strange_traffic_does(self, make_api: Callable[..., Api]) -> None:
        api = make_api()
        assert api.get(f"/v1/models/{DETECTOR}/drift").json()["size"] == 0
        for seed in range(4):
            api.post(SCORE, json={"model": DETECTOR, "inputs": normal_images(100, seed=20 + seed).tolist()})
        usual = api.get(f"/v1/models/{DETECTOR}/drift").json()
        assert usual["size"] == 400
        assert usual["significance"] > 0.001
        for seed in range(4):
            strange = (normal_images(100, seed=30 + seed) + 0.3).clip(0, 1)
            api.post(SCORE, json={"model": DETECTOR, "inputs": strange.tolist()})
        changed = api.get(f"/v1/models/{DETECTOR}/drift").json()
        assert changed["ks"] > usual["ks"] + 0.1
        assert changed["significance"] < 1e-6
        assert sum(changed["histogram"]) == changed["size"] == 800

    def test_a_model_without_p_values_has_none(self, api: Api) -> None:
        assert api.get(f"/v1/models/{TABLE}/drift").status_code == 404


class TestText:
    def test_text_goes_to_the_default_writer(self, api: Api) -> None:
        body = api.post(SCORE, json={"input": "To be, or not"}).json()
        assert (body["model"], body["density"]) == (WRITER, "exact")
        assert body["calibration"]["statistic"] == "log_prob_per_token"
        (item,) = body["data"]
        assert item["tokens"] == 13
        assert item["perplexity"] == pytest.approx(math.exp(-item["log_prob"] / 13))
        assert item["bits_per_dim"] == pytest.approx(-item["log_prob"] / 13 / math.log(2))
        assert 0 < item["p_value"] <= 1

    def test_several_texts(self, api: Api) -> None:
        texts = ["To be", "or not", "x" * 100, "a"]
        body = api.post(SCORE, json={"model": WRITER, "input": texts}).json()
        assert [item["tokens"] for item in body["data"]] == [5, 6, 100, 1]
        for i, text in enumerate(texts):
            (alone,) = api.post(SCORE, json={"input": text}).json()["data"]
            assert alone == {**body["data"][i], "index": 0}

    def test_a_text_adds_up_character_by_character(self, api: Api) -> None:
        text = "".join(np.random.default_rng(0).choice(list(CHARACTERS), CONTEXT))
        beginnings = [text[: i + 1] for i in range(CONTEXT)]
        scores = [item["log_prob"] for item in api.post(SCORE, json={"input": beginnings}).json()["data"]]
        echoed = api.post("/v1/completions", json={"prompt": text[:-1], "echo": True, "logprobs": 0, "max_tokens": 0})
        steps = echoed.json()["choices"][0]["logprobs"]["token_logprobs"]
        assert np.diff(scores, prepend=0)[:-1].tolist() == pytest.approx(steps, abs=1e-3)


class TestColumns:
    NPY = {"accept": "application/x-npy"}

    def test_calibrated_models_answer_log_prob_and_p_value(self, api: Api) -> None:
        ask = {"inputs": on_levels(3).tolist()}
        answer = api.post(SCORE, json=ask, headers=self.NPY)
        columns = read_npy(answer)
        assert (columns.dtype, columns.shape) == (np.float64, (3, 2))
        items = api.post(SCORE, json=ask).json()["data"]
        assert columns.tolist() == [[item["log_prob"], item["p_value"]] for item in items]
        assert answer.headers["x-amostra-model"] == DENSITY

    def test_others_answer_log_prob_alone(self, api: Api) -> None:
        ask = {"model": TABLE, "inputs": [[0.1, 0.2, 0.3]]}
        columns = read_npy(api.post(SCORE, json=ask, headers=self.NPY))
        assert columns.tolist() == [[api.post(SCORE, json=ask).json()["data"][0]["log_prob"]]]

    def test_json_is_what_is_answered_unless_numbers_are_asked_for(self, api: Api) -> None:
        for accept in ("*/*", "application/json", "application/x-npy;q=0.5, application/json"):
            answer = api.post(SCORE, json={"input": "To be"}, headers={"accept": accept})
            assert answer.headers["content-type"] == "application/json"
        assert api.post(SCORE, json={"input": "To be"}, headers={"accept": "image/png"}).status_code == 406


@pytest.mark.parametrize(
    "inputs", [["a" * 50_000, *[""] * 3000], [["1", "2", "3"]], [[True, 1, 2]], "1", [[10**400, 1, 2]]]
)
def test_texts_in_the_place_of_numbers_are_refused_and_take_no_memory(api: Api, inputs: Any) -> None:
    """NumPy would make room for each as long as the longest: 600 MB for the first of these."""
    tracemalloc.start()
    try:
        answer = api.post("/v1/score", json={"model": TABLE, "inputs": inputs})
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()
    assert (answer.status_code, "expected lists of numbers" in answer.json()["detail"]) == (422, True)
