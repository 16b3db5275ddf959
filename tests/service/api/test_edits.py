"""Routes that change a part of an image or undo what was done to it: every way to send, the same pixels."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.codecs import picture
from tests.service.api.client import Api, b64, npy, png, read_npy, read_png, unb64
from tests.toys.directories import COLOURIST, DIFFUSION, INPAINTER, PIXELS, RESTORER

EDIT, RESTORE, DENOISE = "/v1/images/edits", "/v1/images/restore", "/v1/images/denoise"
NPY = {"accept": "application/x-npy"}
IMAGE = (np.random.default_rng(0).integers(0, 256, (1, 8, 8)) / 255).astype(np.float32)
HOLE = np.zeros((8, 8), bool)
HOLE[2:6, 3:] = True


def transparent(image: np.ndarray = IMAGE, hole: np.ndarray = HOLE) -> bytes:
    """A PNG of the image that can be seen through in the hole."""
    grey = np.rint(image[0] * 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(np.dstack([grey, np.where(hole, 0, 255).astype(np.uint8)]), "LA").save(stream, "PNG")
    return stream.getvalue()


WHITE = png(HOLE[None].astype(np.float32))
FIELDS: dict[str, Any] = {"n": 2, "seed": 3, "response_format": "npy"}
FORM = {name: str(value) for name, value in FIELDS.items()}
WAYS: dict[str, dict[str, Any]] = {
    "json, white": {"json": {"image": b64(png(IMAGE)), "mask": b64(WHITE), **FIELDS}},
    "json, transparent": {"json": {"image": b64(png(IMAGE)), "mask": b64(transparent()), **FIELDS}},
    "json, its own transparency": {"json": {"image": b64(transparent()), **FIELDS}},
    "json npy": {"json": {"image": b64(npy(IMAGE)), "mask": b64(npy(HOLE)), **FIELDS}},
    "json data url": {"json": {"image": b64(png(IMAGE)), "mask": "data:image/png;base64," + b64(WHITE), **FIELDS}},
    "multipart": {"files": {"image": ("a.png", png(IMAGE)), "mask": ("m.png", WHITE)}, "data": FORM},
    "multipart, the mask first": {"files": {"mask": ("m.png", WHITE), "image[]": ("a.png", png(IMAGE))}, "data": FORM},
    "multipart, transparent": {
        "files": {"image": ("a.png", png(IMAGE)), "mask": ("m", transparent())},
        "params": FIELDS,
    },
    "multipart, its own transparency": {"files": {"image": ("a.png", transparent())}, "data": FORM},
    "its own transparency": {"content": transparent(), "params": FIELDS, "headers": {"content-type": "image/png"}},
    "defaults": {"json": {"image": b64(png(IMAGE)), "mask": b64(WHITE), "prompt": "", "size": "8x8", **FIELDS}},
}


class TestEdit:
    @pytest.mark.parametrize("way", WAYS)
    def test_every_way_to_send_gives_the_same(self, api: Api, way: str) -> None:
        images = read_npy(api.post(EDIT, **WAYS[way]))
        assert images.shape == (2, 1, 8, 8)
        assert np.array_equal(images[:, 0, ~HOLE], IMAGE[:, ~HOLE].repeat(2, axis=0))
        assert np.array_equal(images, read_npy(api.post(EDIT, **WAYS["json, white"])))

    def test_json_says_who_drew_and_from_which_seed(self, api: Api) -> None:
        ask = {"image": b64(png(IMAGE)), "mask": b64(WHITE), "prompt": "7", "n": 2}
        body = api.post(EDIT, json=ask).json()
        assert set(body) == {"created", "model", "seed", "data"}
        assert body["model"] == DIFFUSION
        known = np.rint(IMAGE[0] * 255).astype(np.uint8)[~HOLE]
        for i, item in enumerate(body["data"]):
            assert {k: v for k, v in item.items() if k != "b64_json"} == {"index": i, "label": 7, "class": "7"}
            assert np.array_equal(read_png(unb64(item["b64_json"]))[~HOLE], known)
        again = api.post(EDIT, json={**ask, "seed": body["seed"]}).json()
        assert again["data"] == body["data"]

    def test_without_a_class_none_is_said(self, api: Api) -> None:
        body = api.post(EDIT, json={"image": b64(transparent())}).json()
        assert set(body["data"][0]) == {"b64_json", "index"}

    def test_a_grid_as_png(self, api: Api) -> None:
        ask = {"image": b64(transparent()), "n": 4, "seed": 1}
        images = read_npy(api.post(EDIT, json=ask, headers=NPY))
        sheet = api.post(EDIT, json=ask, headers={"accept": "image/png"})
        assert sheet.headers["x-amostra-seed"] == "1"
        assert np.array_equal(read_png(sheet.content), np.rint(picture.grid(images)[0] * 255))

    @pytest.mark.parametrize("wish", [{"steps": 3}, {"sampler": "ancestral"}, {"label": 3}, {"seed": 4}])
    def test_wishes_matter(self, api: Api, wish: dict[str, Any]) -> None:
        ask = {"image": b64(transparent()), "seed": 3}
        plain, other = (read_npy(api.post(EDIT, json=body, headers=NPY)) for body in (ask, {**ask, **wish}))
        assert not np.array_equal(plain, other)

    @pytest.mark.parametrize("model", [PIXELS, INPAINTER])
    def test_models_of_other_kinds_edit_too(self, api: Api, model: str) -> None:
        n = 3 if model == PIXELS else 1
        images = read_npy(api.post(EDIT, json={"image": b64(transparent()), "model": model, "n": n}, headers=NPY))
        assert images.shape == (n, 1, 8, 8)
        assert np.array_equal(images[:, 0, ~HOLE], IMAGE[:, ~HOLE].repeat(n, axis=0))

    def test_values_between_the_levels_of_a_file_stay_too(self, api: Api) -> None:
        image = np.random.default_rng(1).random((1, 8, 8)).astype(np.float32)
        images = read_npy(api.post(EDIT, json={"image": b64(npy(image)), "mask": b64(WHITE)}, headers=NPY))
        assert np.array_equal(images[0, :, ~HOLE], image[:, ~HOLE].T)


class TestRestore:
    def test_a_small_image_is_made_large(self, api: Api) -> None:
        image = (np.random.default_rng(0).integers(0, 256, (1, 5, 7)) / 255).astype(np.float32)
        larger = image.repeat(2, axis=1).repeat(2, axis=2)
        for request in (
            {"json": {"image": b64(png(image))}},
            {"json": {"image": [b64(npy(image))]}},
            {"content": png(image), "headers": {"content-type": "image/png"}},
            {"files": {"image": ("a.png", png(image))}},
        ):
            headers = {**request.pop("headers", {}), **NPY}
            assert np.array_equal(read_npy(api.post(RESTORE, headers=headers, **request))[0], larger)
        body = api.post(RESTORE, json={"image": b64(png(image))}).json()
        assert set(body) == {"created", "model", "data"}
        assert body["model"] == RESTORER
        assert set(body["data"][0]) == {"b64_json", "index"}
        assert read_png(unb64(body["data"][0]["b64_json"])).shape == (10, 14)

    def test_grey_is_given_a_colour(self, api: Api) -> None:
        ask = {"image": [b64(png(IMAGE)), b64(png(1 - IMAGE))], "model": COLOURIST}
        images = read_npy(api.post(RESTORE, json=ask, headers=NPY))
        assert images.shape == (2, 3, 8, 8)
        assert np.allclose(images[0], np.concatenate([IMAGE, IMAGE / 2, 0 * IMAGE]), atol=1e-6)
        (first, _) = api.post(RESTORE, json=ask).json()["data"]
        assert read_png(unb64(first["b64_json"])).shape == (8, 8, 3)

    def test_a_picture_in_colour_is_made_grey_first(self, api: Api) -> None:
        colours = np.random.default_rng(0).random((3, 8, 8)).astype(np.float32)
        ask = {"image": b64(picture.encode(colours)), "model": COLOURIST}
        assert read_npy(api.post(RESTORE, json=ask, headers=NPY)).shape == (1, 3, 8, 8)


class TestDenoiseByDiffusion:
    def test_the_level_is_said_for_each_image(self, api: Api) -> None:
        rng = np.random.default_rng(0)
        images = [(0.5 + sigma * rng.standard_normal((1, 8, 8))).astype(np.float32) for sigma in (0.1, 3.0)]
        ask = {"image": [b64(npy(image)) for image in images], "model": DIFFUSION}
        found = api.post(DENOISE, json=ask).json()["data"]
        assert [set(item) for item in found] == [{"b64_json", "index", "sigma", "sigma_estimated"}] * 2
        assert [item["sigma_estimated"] for item in found] == [True, True]
        assert 0.05 < found[0]["sigma"] < 0.2
        assert 2.0 < found[1]["sigma"] < 4.5
        given = api.post(DENOISE, json={**ask, "sigma": 0.3}).json()["data"]
        assert [(item["sigma"], item["sigma_estimated"]) for item in given] == [(0.3, False)] * 2

    def test_an_estimated_level_given_again_gives_the_same(self, api: Api) -> None:
        image = (0.5 + 0.2 * np.random.default_rng(0).standard_normal((1, 8, 8))).astype(np.float32)
        ask = {"image": b64(npy(image)), "model": DIFFUSION}
        (item,) = api.post(DENOISE, json=ask).json()["data"]
        (again,) = api.post(DENOISE, json={**ask, "sigma": item["sigma"]}).json()["data"]
        assert again["b64_json"] == item["b64_json"]
