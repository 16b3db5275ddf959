"""Routes of images: every way to ask, every way to answer, the same pixels in all of them."""

import re
from typing import Any

import httpx
import numpy as np
import pytest

from service.codecs import picture
from tests.service.api.client import Api, b64, npy, png, read_npy, read_png, unb64
from tests.toys.directories import DENOISER, DIFFUSION, GENERATOR

GENERATE, DENOISE = "/v1/images/generations", "/v1/images/denoise"
NPY, PNG = {"accept": "application/x-npy"}, {"accept": "image/png"}


def levels(image: np.ndarray) -> np.ndarray:
    """What a PNG holds of an image (1, H, W) in [0, 1]."""
    return np.rint(image[0] * 255).astype(np.uint8)


class TestGenerate:
    def test_json(self, api: Api) -> None:
        answer = api.post(GENERATE, json={"n": 3, "seed": 5, "prompt": "7"})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
        body = answer.json()
        assert set(body) == {"created", "model", "seed", "data"}
        assert (body["model"], body["seed"]) == (GENERATOR, 5)
        assert isinstance(body["created"], int)
        assert [{k: v for k, v in item.items() if k != "b64_json"} for item in body["data"]] == [
            {"index": i, "label": 7, "class": "7"} for i in range(3)
        ]
        assert [read_png(unb64(item["b64_json"])).shape for item in body["data"]] == [(8, 8)] * 3

    def test_all_forms_hold_the_same_pixels(self, api: Api) -> None:
        ask = {"n": 5, "seed": 5}
        array = read_npy(api.post(GENERATE, json=ask, headers=NPY))
        assert (array.shape, array.dtype) == ((5, 1, 8, 8), np.float32)
        assert array.min() >= 0
        assert array.max() <= 1
        for image, item in zip(array, api.post(GENERATE, json=ask).json()["data"], strict=True):
            assert np.array_equal(read_png(unb64(item["b64_json"])), levels(image))
        sheet = api.post(GENERATE, json=ask, headers=PNG)
        assert sheet.headers["content-type"] == "image/png"
        assert np.array_equal(read_png(sheet.content), levels(picture.grid(array)))

    def test_a_single_image_is_no_grid(self, api: Api) -> None:
        array = read_npy(api.post(GENERATE, json={"seed": 1}, headers=NPY))
        single = api.post(GENERATE, json={"seed": 1}, headers=PNG)
        assert np.array_equal(read_png(single.content), levels(array[0]))

    def test_the_model_and_the_seed_are_in_the_headers_of_files(self, api: Api) -> None:
        for headers in (NPY, PNG):
            answer = api.post(GENERATE, json={"seed": 77}, headers=headers)
            assert (answer.headers["x-amostra-seed"], answer.headers["x-amostra-model"]) == ("77", GENERATOR)

    def test_a_drawn_seed_is_returned_and_gives_the_same_again(self, api: Api) -> None:
        first = api.post(GENERATE, json={"n": 2})
        other = api.post(GENERATE, json={"n": 2})
        assert first.json()["seed"] != other.json()["seed"]
        again = api.post(GENERATE, json={"n": 2, "seed": first.json()["seed"]})
        assert again.json()["data"] == first.json()["data"] != other.json()["data"]

    def test_a_class_by_number_or_by_name(self, api: Api) -> None:
        by_name, by_number, others = (
            api.post(GENERATE, json={"seed": 1, "n": 2, **wish}, headers=NPY).content
            for wish in ({"prompt": "3"}, {"label": 3}, {"label": 4})
        )
        assert by_name == by_number != others

    def test_no_class_gives_one_of_each(self, api: Api) -> None:
        data = api.post(GENERATE, json={"n": 12, "prompt": ""}).json()["data"]
        assert [item["label"] for item in data] == [*range(10), 0, 1]

    def test_latents_instead_of_a_seed(self, api: Api) -> None:
        z = [[0.5, -1.0, 2.0, 0.0]]
        array = read_npy(api.post(GENERATE, json={"latents": z, "label": 2, "seed": 1}, headers=NPY))
        again = read_npy(api.post(GENERATE, json={"latents": z, "label": 2, "seed": 2}, headers=NPY))
        assert np.array_equal(array, again)

    @pytest.mark.parametrize("model", [GENERATOR, DIFFUSION])
    def test_seeds_are_the_ends_of_a_way(self, api: Api, model: str) -> None:
        ask = {"model": model, "label": 5, "response_format": "npy"}
        answer = api.post(GENERATE, json={**ask, "n": 7, "seeds": [3, 4]})
        assert answer.headers["x-amostra-seeds"] == "[3, 4]"
        between = read_npy(answer)
        for place, seed in ((0, 3), (-1, 4)):
            assert np.array_equal(between[place], read_npy(api.post(GENERATE, json={**ask, "seed": seed}))[0])
        body = api.post(GENERATE, json={"model": model, "n": 3, "seeds": [3, 4]}).json()
        assert body["seeds"] == [3, 4]
        assert "seed" not in body
        assert [item["label"] for item in body["data"]] == [0, 0, 0]

    def test_wishes_of_a_model_that_draws_in_steps(self, api: Api) -> None:
        ask = {"model": DIFFUSION, "seed": 1, "response_format": "npy"}
        plain = api.post(GENERATE, json=ask).content
        own = {"steps": 6, "sampler": "dpmpp_2m", "guidance": 1.5}
        assert api.post(GENERATE, json={**ask, **own}).content == plain
        for other in ({"steps": 7}, {"sampler": "heun"}, {"sampler": "ancestral"}, {"guidance": 2.5}):
            assert api.post(GENERATE, json={**ask, **other}).content != plain

    def test_response_format_goes_before_accept(self, api: Api) -> None:
        for form, media in (
            ("b64_json", "application/json"),
            ("png", "image/png"),
            ("npy", "application/x-npy"),
        ):
            for headers in ({"accept": "text/html"}, NPY, {}):
                answer = api.post(GENERATE, json={"response_format": form}, headers=headers)
                assert answer.headers["content-type"] == media

    @pytest.mark.parametrize("field", [{"size": "8x8"}, {"size": "auto"}, {"user": "somebody"}, {"model": GENERATOR}])
    def test_fields_that_ask_for_what_is_done_anyway(self, api: Api, field: dict[str, str]) -> None:
        assert api.post(GENERATE, json=field).status_code == 200

    def test_a_version_can_be_asked_for(self, api: Api) -> None:
        assert api.post(GENERATE, json={"model": f"{GENERATOR}@1"}).json()["model"] == GENERATOR


ACCEPTED = [
    (None, "application/json"),
    ("*/*", "application/json"),
    ("application/*", "application/json"),
    ("image/*", "image/png"),
    ("image/png", "image/png"),
    ("IMAGE/PNG", "image/png"),
    ("text/html, image/png;q=0.5", "image/png"),
    ("image/png;q=0.5, application/x-npy", "application/x-npy"),
    ("application/json;q=0.1, image/png;q=0.2", "image/png"),
    ("*/*;q=0.1, application/x-npy;q=0.1", "application/x-npy"),
    ("image/webp, */*;q=0.1", "application/json"),
    ("image/png;q=0, */*", "application/json"),
    ("application/x-npy; q=0.9 ; level=1", "application/x-npy"),
]


@pytest.mark.parametrize(("accept", "media"), ACCEPTED)
@pytest.mark.parametrize("path", [GENERATE, DENOISE])
def test_content_is_negotiated(api: Api, path: str, accept: str | None, media: str) -> None:
    body = {} if path == GENERATE else {"image": b64(png(np.zeros((1, 4, 4))))}
    request = httpx.Headers({} if accept is None else {"accept": accept})
    answer = api.post(path, json=body, headers=request)
    assert (answer.status_code, answer.headers["content-type"]) == (200, media)


@pytest.mark.parametrize("accept", ["text/html", "image/webp", "application/json;q=0", "image/jpeg, audio/*"])
@pytest.mark.parametrize("path", [GENERATE, DENOISE])
def test_what_cannot_be_answered_is_406_and_says_what_can(api: Api, path: str, accept: str) -> None:
    body = {} if path == GENERATE else {"image": b64(png(np.zeros((1, 4, 4))))}
    answer = api.post(path, json=body, headers={"accept": accept})
    assert answer.status_code == 406
    for media in ("application/json", "image/png", "application/x-npy"):
        assert media in answer.json()["detail"]


def noisy(*shape: int) -> np.ndarray:
    """Pixels on the 256 levels of a PNG, so that it holds them exactly."""
    return (np.random.default_rng(0).integers(0, 256, shape) / 255).astype(np.float32)


class TestDenoise:
    def every_way_to_send(self, image: np.ndarray, **fields: Any) -> dict[str, dict[str, Any]]:
        form = {name: str(value) for name, value in fields.items()}
        return {
            "png": {"content": png(image), "params": fields, "headers": {"content-type": "image/png"}},
            "npy": {"content": npy(image), "params": fields, "headers": {"content-type": "application/x-npy"}},
            "multipart png": {"files": {"image": ("a.png", png(image), "image/png")}, "data": form},
            "multipart npy": {"files": {"image": ("a.npy", npy(image), "application/x-npy")}, "data": form},
            "multipart, no type": {"files": {"image": ("a", png(image), "application/octet-stream")}, "data": form},
            "multipart, fields in the query": {"files": {"image": ("a.png", png(image))}, "params": fields},
            "json png": {"json": {"image": b64(png(image)), **fields}},
            "json npy": {"json": {"image": b64(npy(image)), **fields}},
            "json data url": {"json": {"image": "data:image/png;base64," + b64(png(image)), **fields}},
            "json list": {"json": {"image": [b64(png(image))], **fields}},
        }

    @pytest.mark.parametrize("sigma", [None, 0.1])
    def test_every_way_to_send_gives_the_same(self, api: Api, sigma: float | None) -> None:
        image = noisy(1, 9, 12)
        fields: dict[str, Any] = {"response_format": "npy", **({} if sigma is None else {"sigma": sigma})}
        answers = {
            way: read_npy(api.post(DENOISE, **request))
            for way, request in self.every_way_to_send(image, **fields).items()
        }
        first = answers["png"]
        assert first.shape == (1, 1, 9, 12)
        assert not np.allclose(first[0], image, atol=0.01), "something was done to it"
        for way, answer in answers.items():
            assert np.array_equal(answer, first), way

    def test_sigma_matters(self, api: Api) -> None:
        image = noisy(1, 8, 8)
        answers = [
            read_npy(api.post(DENOISE, json={"image": b64(png(image)), "response_format": "npy", **sigma}))
            for sigma in ({}, {"sigma": 0.0}, {"sigma": 0.05}, {"sigma": 0.2})
        ]
        assert np.allclose(answers[1][0], image, atol=1e-6)
        distance = [np.abs(answer[0] - image).mean() for answer in answers]
        assert distance[1] < distance[2] < distance[0] < distance[3]

    def test_all_forms_hold_the_same_pixels(self, api: Api) -> None:
        ask = {"image": b64(png(noisy(1, 8, 8)))}
        array = read_npy(api.post(DENOISE, json=ask, headers=NPY))
        body = api.post(DENOISE, json=ask).json()
        assert set(body) == {"created", "model", "data"}
        assert body["model"] == DENOISER
        (item,) = body["data"]
        assert item["index"] == 0
        sheet = api.post(DENOISE, json=ask, headers=PNG)
        assert sheet.headers["x-amostra-model"] == DENOISER
        assert (
            read_png(sheet.content).tolist() == read_png(unb64(item["b64_json"])).tolist() == levels(array[0]).tolist()
        )

    def test_a_jpeg(self, api: Api) -> None:
        smooth = np.tile(np.linspace(0, 1, 16, dtype=np.float32), (1, 16, 1))
        request = {"content": png(smooth, "JPEG"), "headers": {"content-type": "image/jpeg", **NPY}}
        clean = read_npy(api.post(DENOISE, **request))
        assert np.abs(clean[0, :, 2:-2, 2:-2] - smooth[:, 2:-2, 2:-2]).max() < 0.05

    def test_values_outside_of_the_range_may_go_in_as_npy(self, api: Api) -> None:
        image = np.random.default_rng(0).normal(0.5, 1, (1, 1, 8, 8)).astype(np.float32)
        clean = read_npy(api.post(DENOISE, content=npy(image), headers={"content-type": "application/x-npy", **NPY}))
        assert clean.min() >= 0
        assert clean.max() <= 1

    @pytest.mark.parametrize("size", [(1, 1), (7, 5), (64, 64), (2, 33)])
    def test_every_size_comes_back_in_its_own(self, api: Api, size: tuple[int, int]) -> None:
        answer = api.post(DENOISE, json={"image": b64(png(noisy(1, *size)))}, headers=PNG)
        assert read_png(answer.content).shape == size

    def test_several_images_of_one_size_keep_their_order(self, api: Api) -> None:
        images = noisy(4, 1, 6, 8)
        alone = [read_npy(api.post(DENOISE, json={"image": b64(npy(i))}, headers=NPY))[0] for i in images]
        parts = [("image", (f"{i}.png", png(image), "image/png")) for i, image in enumerate(images)]
        for request in (
            {"files": parts, "headers": NPY},
            {"files": [("image[]", part) for _, part in parts], "headers": NPY},
            {"json": {"image": [b64(png(image)) for image in images]}, "headers": NPY},
            {"content": npy(images), "headers": {"content-type": "application/x-npy", **NPY}},
        ):
            assert np.array_equal(read_npy(api.post(DENOISE, **request)), np.stack(alone))

    def test_colour_is_made_grey_for_a_grey_model(self, api: Api) -> None:
        colours = np.random.default_rng(0).random((3, 8, 8)).astype(np.float32)
        answer = api.post(DENOISE, content=picture.encode(colours), headers={"content-type": "image/png", **NPY})
        assert read_npy(answer).shape == (1, 1, 8, 8)

    def test_a_content_type_with_parameters_in_any_case(self, api: Api) -> None:
        headers = {"content-type": "Image/PNG; charset=binary"}
        assert api.post(DENOISE, content=png(noisy(1, 4, 4)), headers=headers).status_code == 200


def test_names_of_headers_are_safe(api: Api) -> None:
    answer = api.post(GENERATE, json={}, headers=PNG)
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in answer.headers)
    assert answer.headers["x-content-type-options"] == "nosniff"
