"""Every way to be wrong gets the right status, in one envelope that names the field and the remedy."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.errors import AmostraError
from tests.service.api.client import Api, b64, npy, png
from tests.toys.broken import BROKEN
from tests.toys.directories import DENOISER, DENSITY, DIFFUSION, GENERATOR, INPAINTER, PIXELS, TABLE, WRITER

GENERATE, DENOISE, SCORE, COMPLETE = "/v1/images/generations", "/v1/images/denoise", "/v1/score", "/v1/completions"
EDIT, RESTORE = "/v1/images/edits", "/v1/images/restore"
JSON = {"content-type": "application/json"}
CODES = {error.status: error.code for error in reversed(AmostraError.__subclasses__()) if error.status != 500}
IMAGE = b64(png(np.zeros((1, 8, 8))))
MASK = b64(png(np.ones((1, 8, 8))))


def assert_envelope(answer: httpx.Response, status: int, field: str | None = None, code: str = "") -> str:
    """Check an error's whole form. Returns its sentence."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    code = code or CODES[status]
    assert set(body) == {"type", "title", "status", "detail", "instance", "error"}
    assert body["type"] == f"urn:amostra:error:{code}"
    assert body["status"] == status
    assert body["title"]
    assert body["instance"] == f"urn:amostra:request:{answer.headers['x-request-id']}"
    assert body["error"] == {
        "message": body["detail"],
        "type": "invalid_request_error" if status < 429 else f"{code}_error",
        "param": field,
        "code": code,
    }
    for secret in ("Traceback", 'File "', ".py", "pydantic.dev"):
        assert secret not in answer.text
    return body["detail"]


def raw(content: bytes, kind: str, **rest: Any) -> dict[str, Any]:
    return {"content": content, "headers": {"content-type": kind}, **rest}


NESTED = b"[" * 100_000
WRONG: dict[str, tuple[str, dict[str, Any], int, str | None, str]] = {
    # bodies that are not what they say
    "no JSON": (GENERATE, raw(b"{", "application/json"), 400, None, "expected JSON"),
    "empty JSON": (GENERATE, raw(b"", "application/json"), 400, None, "expected JSON"),
    "not UTF-8": (COMPLETE, raw(b'{"prompt": "\xff"}', "application/json"), 400, None, "expected JSON"),
    "deep JSON": (SCORE, raw(b'{"inputs": ' + NESTED, "application/json"), 400, None, "expected JSON"),
    "deep JSON elsewhere": (GENERATE, raw(NESTED, "application/json"), 400, None, "expected JSON"),
    "no picture": (DENOISE, raw(b"hello", "image/png"), 400, "body", "expected a whole PNG or JPEG"),
    "empty picture": (DENOISE, raw(b"", "image/png"), 400, "body", "found nothing"),
    "half a picture": (
        SCORE,
        raw(png(np.random.default_rng(0).random((1, 30, 30)))[:200], "image/png"),
        400,
        "body",
        "expected a whole PNG or JPEG",
    ),
    "no array": (DENOISE, raw(b"hello", "application/x-npy"), 400, "body", "expected a .npy array"),
    "no base64": (DENOISE, {"json": {"image": "!!!"}}, 400, "image[0]", "expected base64"),
    "base64 of nothing": (DENOISE, {"json": {"image": ["", IMAGE]}}, 400, "image[0]", "found nothing"),
    "second image broken": (SCORE, {"json": {"image": [IMAGE, b64(b"x")]}}, 400, "image[1]", "PNG or JPEG"),
    "multipart without boundary": (DENOISE, raw(b"x", "multipart/form-data"), 400, None, "multipart"),
    "multipart broken": (DENOISE, raw(b"x", "multipart/form-data; boundary=b"), 400, None, "multipart"),
    # models
    "unknown model": (GENERATE, {"json": {"model": "nobody"}}, 404, "model", "loaded are"),
    "unknown version": (COMPLETE, {"json": {"model": f"{WRITER}@9"}}, 404, "model", "loaded are"),
    "model of another task": (
        GENERATE,
        {"json": {"model": WRITER}},
        422,
        "model",
        f"models that can: {DIFFUSION}, {GENERATOR}",
    ),
    "model of another task, files": (
        DENOISE,
        raw(png(np.zeros((1, 8, 8))), "image/png", params={"model": TABLE}),
        422,
        "model",
        f"models that can: {DIFFUSION}, {DENOISER}",
    ),
    # too much
    "declared too large": (GENERATE, raw(b" " * 200_001, "application/json"), 413, None, "the limit is 200000"),
    "too many images, pixel by pixel": (GENERATE, {"json": {"model": PIXELS, "n": 9}}, 413, "n", "the limit is 8"),
    "too many images": (GENERATE, {"json": {"n": 41}}, 413, "n", "the limit is 40"),
    "too many pixels": (DENOISE, raw(png(np.zeros((1, 65, 64))), "image/png"), 413, "body", "the limit is 4096"),
    "too many pixels, npy": (
        DENOISE,
        raw(npy(np.zeros((1, 65, 64), np.uint8)), "application/x-npy"),
        413,
        "image",
        "the limit is 4096",
    ),
    "too many rows": (SCORE, {"json": {"model": TABLE, "inputs": [[0, 0, 0]] * 101}}, 413, "inputs", "limit is 100"),
    "too many texts": (SCORE, {"json": {"input": ["a"] * 101}}, 413, "input", "limit is 100"),
    "too many tokens": (COMPLETE, {"json": {"max_tokens": 501}}, 413, "max_tokens", "limit is 500"),
    "too many completions": (COMPLETE, {"json": {"n": 9}}, 413, "n", "8 completions"),
    "too many prompts": (COMPLETE, {"json": {"prompt": ["a"] * 3, "n": 3}}, 413, "n", "8 completions"),
    # other types
    "form where JSON is meant": (GENERATE, {"data": {"n": 1}}, 415, None, "expected application/json"),
    "text": (DENOISE, raw(b"x", "text/plain"), 415, None, "image/png"),
    "no type": (SCORE, {"content": b"x"}, 415, None, "image/png"),
    "webp": (SCORE, raw(b"x", "image/webp"), 415, None, "image/png"),
    # fields
    "unknown field": (GENERATE, {"json": {"colour": 1}}, 422, "colour", "no such field"),
    "unknown field of a completion": (COMPLETE, {"json": {"max_token": 1}}, 422, "max_token", "no such field"),
    "unknown field of a score": (SCORE, {"json": {"data": 1}}, 422, "data", "no such field"),
    "unknown field in a form": (
        DENOISE,
        {"files": {"image": ("a.png", png(np.zeros((1, 8, 8))))}, "data": {"sigm": "1"}},
        422,
        "sigm",
        "no such field",
    ),
    "unknown field in the query": (
        DENOISE,
        raw(png(np.zeros((1, 8, 8))), "image/png", params={"noise": "1"}),
        422,
        "noise",
        "no such field",
    ),
    "a list for a body": (GENERATE, {"json": [1]}, 422, "body", "found [1]"),
    "null for a body": (GENERATE, {"json": None, **raw(b"null", "application/json")}, 422, "body", "found None"),
    "n of no kind": (GENERATE, {"json": {"n": "many"}}, 422, "n", "found 'many'"),
    "n of none": (GENERATE, {"json": {"n": 0}}, 422, "n", "found 0"),
    "n as a fraction": (GENERATE, {"json": {"n": 1.5}}, 422, "n", "found 1.5"),
    "seed below zero": (GENERATE, {"json": {"seed": -1}}, 422, "seed", "found -1"),
    "seed too large for JSON": (GENERATE, {"json": {"seed": 2**53}}, 422, "seed", "found 9007199254740992"),
    "unknown class": (GENERATE, {"json": {"prompt": "dog"}}, 422, "prompt", "classes are 0, 1"),
    "label of no class": (GENERATE, {"json": {"label": 10}}, 422, "label", "use 0 to 9"),
    "label below zero": (GENERATE, {"json": {"label": -1}}, 422, "label", "found -1"),
    "two wishes": (GENERATE, {"json": {"label": 1, "prompt": "2"}}, 422, "label", "send one of them"),
    "steps for a model without": (GENERATE, {"json": {"steps": 5}}, 422, "steps", "leave it out"),
    "sampler for a model without": (GENERATE, {"json": {"sampler": "heun"}}, 422, "sampler", "leave it out"),
    "guidance for a model without": (GENERATE, {"json": {"guidance": 2}}, 422, "guidance", "leave it out"),
    "another size": (GENERATE, {"json": {"size": "512x512"}}, 422, "size", "leave it out"),
    "URLs": (GENERATE, {"json": {"response_format": "url"}}, 422, "response_format", "use b64_json"),
    "another format": (GENERATE, {"json": {"response_format": "webp"}}, 422, "response_format", "found 'webp'"),
    "latents of another shape": (GENERATE, {"json": {"latents": [[1, 2]]}}, 422, "latents", "1 × 4 numbers"),
    "latents too large": (
        GENERATE,
        raw(b'{"latents": [[1e300, 0, 0, 0]]}', "application/json"),
        422,
        "latents",
        "float32",
    ),
    "latents of words": (GENERATE, {"json": {"latents": [["a", 0, 0, 0]]}}, 422, "latents.0.0", "found 'a'"),
    "too many steps": (GENERATE, {"json": {"model": DIFFUSION, "steps": 21}}, 422, "steps", "expected 1 to 20"),
    "no steps": (GENERATE, {"json": {"model": DIFFUSION, "steps": 0}}, 422, "steps", "found 0"),
    "another sampler": (
        GENERATE,
        {"json": {"model": DIFFUSION, "sampler": "ddim"}},
        422,
        "sampler",
        "one of dpmpp_2m, heun, euler, ancestral",
    ),
    "temperature for a model without": (GENERATE, {"json": {"temperature": 1}}, 422, "temperature", "leave it out"),
    "steps for a model of pixels": (GENERATE, {"json": {"model": PIXELS, "steps": 2}}, 422, "steps", "value by value"),
    "seeds for a model of pixels": (
        GENERATE,
        {"json": {"model": PIXELS, "n": 2, "seeds": [1, 2]}},
        422,
        "seeds",
        "leave it out",
    ),
    "one seed of a way": (GENERATE, {"json": {"n": 2, "seeds": [1]}}, 422, "seeds", "at least 2 items"),
    "a seed of a way below zero": (GENERATE, {"json": {"n": 2, "seeds": [1, -1]}}, 422, "seeds.1", "found -1"),
    "too few images for seeds": (GENERATE, {"json": {"seeds": [1, 2]}}, 422, "n", "ask for 2 or more"),
    "seeds and a seed": (GENERATE, {"json": {"n": 2, "seeds": [1, 2], "seed": 1}}, 422, "seeds", "send seeds alone"),
    "seeds and latents": (
        GENERATE,
        {"json": {"n": 2, "seeds": [1, 2], "latents": [[0] * 4] * 2}},
        422,
        "seeds",
        "latents and seeds",
    ),
    "previews without a stream": (GENERATE, {"json": {"partial_images": 2}}, 422, "partial_images", "stream: true"),
    "too many previews": (GENERATE, {"json": {"stream": True, "partial_images": 9}}, 422, "partial_images", "found 9"),
    "a stream of arrays": (
        GENERATE,
        {"json": {"stream": True, "response_format": "npy"}},
        422,
        "response_format",
        "b64_json",
    ),
    "a stream of another size": (GENERATE, {"json": {"stream": True, "size": "9x9"}}, 422, "size", "leave it out"),
    "no mask": (EDIT, {"json": {"image": IMAGE}}, 422, "mask", "found neither"),
    "no mask for an array": (EDIT, raw(npy(np.zeros((8, 8))), "application/x-npy"), 422, "mask", "found neither"),
    "no image to edit": (EDIT, {"json": {"mask": MASK}}, 422, "image", "expected a value"),
    "a form with a mask only": (
        EDIT,
        {"files": {"mask": ("m.png", png(np.ones((1, 8, 8))))}},
        422,
        "image",
        "one image",
    ),
    "a mask of another size": (
        EDIT,
        {"json": {"image": IMAGE, "mask": b64(png(np.ones((1, 9, 8))))}},
        422,
        "mask",
        "8 × 8 as the image, found 9 × 8",
    ),
    "a mask that hides nothing": (EDIT, {"json": {"image": IMAGE, "mask": IMAGE}}, 422, "mask", "found none"),
    "a mask that is no picture": (EDIT, {"json": {"image": IMAGE, "mask": b64(b"x")}}, 400, "mask", "PNG or JPEG"),
    "a mask of no base64": (EDIT, {"json": {"image": IMAGE, "mask": "!"}}, 400, "mask[0]", "expected base64"),
    "a mask of many planes": (
        EDIT,
        {"json": {"image": IMAGE, "mask": b64(npy(np.ones((3, 8, 8))))}},
        422,
        "mask",
        "H × W, found [3, 8, 8]",
    ),
    "several images to edit": (
        EDIT,
        {"files": [("image", ("a", png(np.zeros((1, 8, 8)))))] * 2 + [("mask", ("m", png(np.ones((1, 8, 8)))))]},
        422,
        "image",
        "2 images and 1 masks",
    ),
    "a mask elsewhere": (
        DENOISE,
        {"files": {"image": ("a.png", png(np.zeros((1, 8, 8)))), "mask": ("m.png", b"x")}},
        422,
        "image",
        "in the field image",
    ),
    "an image of another size to edit": (
        EDIT,
        {"json": {"image": b64(png(np.zeros((1, 9, 8)))), "mask": MASK}},
        422,
        "image[0]",
        "1 × 8 × 8",
    ),
    "values out of range to edit": (
        EDIT,
        {"json": {"image": b64(npy(np.full((8, 8), 3.0))), "mask": MASK}},
        422,
        "image",
        "rescale",
    ),
    "too many edits": (EDIT, {"json": {"image": IMAGE, "mask": MASK, "n": 41}}, 413, "n", "the limit is 40"),
    "several ways to fill a hole": (
        EDIT,
        {"json": {"image": IMAGE, "mask": MASK, "n": 2, "model": INPAINTER}},
        422,
        "n",
        "in one way only",
    ),
    "guidance of an edit towards nothing": (
        EDIT,
        {"json": {"image": IMAGE, "mask": MASK, "guidance": 2}},
        422,
        "guidance",
        "send label or prompt",
    ),
    "an edit as a stream": (EDIT, {"json": {"image": IMAGE, "mask": MASK, "stream": True}}, 422, "stream", "no such"),
    "no image to restore": (RESTORE, {"json": {"image": []}}, 422, "image", "at least one image"),
    "sigma for a model without": (RESTORE, {"json": {"image": IMAGE, "sigma": 0.1}}, 422, "sigma", "leave sigma out"),
    "a model that restores nothing": (
        RESTORE,
        {"json": {"image": IMAGE, "model": PIXELS}},
        422,
        "model",
        "cannot restore",
    ),
    "no image": (DENOISE, {"json": {"image": []}}, 422, "image", "at least one image"),
    "image missing": (DENOISE, {"json": {}}, 422, "image", "expected a value"),
    "form without image": (DENOISE, {"files": {"picture": ("a.png", b"x")}}, 422, "image", "in the field image"),
    "form with fields only": (
        DENOISE,
        {"files": {"model": (None, DENOISER)}},
        422,
        "image",
        "at least one image",
    ),
    "images of two sizes": (
        DENOISE,
        {"json": {"image": [IMAGE, b64(png(np.zeros((1, 8, 9))))]}},
        422,
        "image",
        "send them one by one",
    ),
    "sigma out of range": (DENOISE, {"json": {"image": IMAGE, "sigma": 25}}, 422, "sigma", "for images in [0, 1]"),
    "sigma of words": (
        DENOISE,
        raw(png(np.zeros((1, 8, 8))), "image/png", params={"sigma": "loud"}),
        422,
        "sigma",
        "found 'loud'",
    ),
    "sigma of no number": (
        DENOISE,
        raw(png(np.zeros((1, 8, 8))), "image/png", params={"sigma": "nan"}),
        422,
        "sigma",
        "found 'nan'",
    ),
    "array of objects": (
        DENOISE,
        raw(npy(np.array([None])), "application/x-npy"),
        422,
        "body",
        "expected dtype",
    ),
    "array of NaN": (DENOISE, raw(npy(np.full((8, 8), np.nan)), "application/x-npy"), 422, "body", "finite"),
    "array of too many axes": (DENOISE, raw(npy(np.zeros((1,) * 6)), "application/x-npy"), 422, "body", "1 × H × W"),
    "a number for an array": (DENOISE, raw(npy(np.float32(1)), "application/x-npy"), 422, "body", "1 × H × W"),
    "empty array": (DENOISE, raw(npy(np.zeros((0, 8))), "application/x-npy"), 422, "body", "1 × H × W"),
    "another size of image": (SCORE, raw(png(np.zeros((1, 9, 8))), "image/png"), 422, "body", "1 × 8 × 8"),
    "values out of range": (SCORE, {"json": {"inputs": np.full((8, 8), 255.0).tolist()}}, 422, "inputs", "rescale"),
    "nothing to score": (SCORE, {"json": {}}, 422, "image", "expected image or inputs, found none"),
    "two things to score": (SCORE, {"json": {"inputs": [], "image": IMAGE}}, 422, "image", "image and inputs"),
    "text for an image model": (SCORE, {"json": {"model": DENSITY, "input": "a"}}, 422, "image", "found input"),
    "numbers for a text model": (SCORE, {"json": {"model": WRITER, "inputs": [[1]]}}, 422, "input", "found inputs"),
    "an image for a table": (SCORE, {"json": {"model": TABLE, "image": IMAGE}}, 422, "inputs", "found image"),
    "short row": (SCORE, {"json": {"model": TABLE, "inputs": [[1, 2]]}}, 422, "inputs", "rows of 3 numbers"),
    "ragged rows": (SCORE, {"json": {"model": TABLE, "inputs": [[1, 2, 3], [1]]}}, 422, "inputs", "of one length"),
    "no rows": (SCORE, {"json": {"model": TABLE, "inputs": []}}, 422, "inputs", "rows of 3"),
    "rows of words": (
        SCORE,
        {"json": {"model": TABLE, "inputs": [["a", "b", "c"]]}},
        422,
        "inputs",
        "lists of numbers",
    ),
    "rows of numbers in words": (
        SCORE,
        {"json": {"model": TABLE, "inputs": [["1", "2", "3"]]}},
        422,
        "inputs",
        "lists of numbers",
    ),
    "said in the query of a JSON request": (
        SCORE + "?fdr=0.1",
        {"json": {"model": TABLE, "inputs": [[1, 2, 3]]}},
        422,
        "fdr",
        "put it into the body",
    ),
    "a penalty that is no number": (
        COMPLETE,
        {"json": {"prompt": "a", "presence_penalty": False}},
        422,
        "presence_penalty",
        "expected a number",
    ),
    "rows of null": (SCORE, {"json": {"model": TABLE, "inputs": [[1, 2, None]]}}, 422, "inputs", "lists of numbers"),
    "rows within rows": (
        SCORE,
        raw(b'{"model": "toy-table", "inputs": ' + b"[" * 100 + b"1" + b"]" * 100 + b"}", "application/json"),
        422,
        "inputs",
        "lists of numbers",
    ),
    "rows of truths": (SCORE, {"json": {"model": TABLE, "inputs": [[True] * 3]}}, 422, "inputs", "lists of numbers"),
    "a number": (SCORE, {"json": {"model": TABLE, "inputs": 1}}, 422, "inputs", "rows of 3 numbers"),
    "rows of objects": (SCORE, {"json": {"model": TABLE, "inputs": {"a": 1}}}, 422, "inputs", "found no column"),
    "rows of huge numbers": (
        SCORE,
        raw(b'{"model": "toy-table", "inputs": [[1e300, 0, 0]]}', "application/json"),
        422,
        "inputs",
        "finite",
    ),
    "rows of endless integers": (
        SCORE,
        raw(b'{"model": "toy-table", "inputs": [[' + b"9" * 400 + b", 0, 0]]}", "application/json"),
        422,
        "inputs",
        "numbers",
    ),
    "rows of NaN": (
        SCORE,
        raw(b'{"model": "toy-table", "inputs": [[NaN, 0, 0]]}', "application/json"),
        422,
        "inputs",
        "finite",
    ),
    "alpha of one": (SCORE, {"json": {"input": "a", "alpha": 1}}, 422, "alpha", "found 1"),
    "alpha of zero in the query": (
        SCORE,
        raw(png(np.zeros((1, 8, 8))), "image/png", params={"alpha": "0"}),
        422,
        "alpha",
        "found '0'",
    ),
    "empty text": (SCORE, {"json": {"input": ""}}, 422, "input", "empty text"),
    "no texts": (SCORE, {"json": {"input": []}}, 422, "input", "at least one"),
    "long text": (SCORE, {"json": {"input": "a" * 2001}}, 422, "input", "limit is 2000"),
    "strange character": (SCORE, {"json": {"input": "a€"}}, 422, "input", "'€' at position 1"),
    "strange character in a prompt": (COMPLETE, {"json": {"prompt": "€"}}, 422, "prompt", "remove it"),
    "long prompt": (COMPLETE, {"json": {"prompt": "a" * 40}}, 422, "prompt", "send its last 31"),
    "prompt of another kind": (COMPLETE, {"json": {"prompt": 5}}, 422, "prompt", "found 5"),
    "no prompts": (COMPLETE, {"json": {"prompt": []}}, 413, "n", "1 to 8"),
    "tokens below zero": (COMPLETE, {"json": {"max_tokens": -1}}, 422, "max_tokens", "found -1"),
    "cold": (COMPLETE, {"json": {"temperature": -0.1}}, 422, "temperature", "found -0.1"),
    "nucleus of none": (COMPLETE, {"json": {"top_p": 0}}, 422, "top_p", "found 0"),
    "stop of none": (COMPLETE, {"json": {"stop": ""}}, 422, "stop", "1 to 256 characters"),
    "many stops": (COMPLETE, {"json": {"stop": ["a"] * 17}}, 422, "stop", "up to 16"),
    "best of several": (COMPLETE, {"json": {"best_of": 3}}, 422, "best_of", "found 3"),
    "bias": (COMPLETE, {"json": {"logit_bias": {"1": 2}}}, 422, "logit_bias", "found"),
    "penalty": (COMPLETE, {"json": {"frequency_penalty": 0.5}}, 422, "frequency_penalty", "found 0.5"),
    "infinite temperature": (
        COMPLETE,
        raw(b'{"temperature": Infinity}', "application/json"),
        422,
        "temperature",
        "found inf",
    ),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_a_wrong_request_is_told_what_is_wrong_and_what_to_do(api: Api, case: str) -> None:
    path, request, status, field, says = WRONG[case]
    detail = assert_envelope(api.post(path, **request), status, field)
    assert says in detail
    if field not in (None, "body"):
        assert field.split(".")[0] in detail


@pytest.mark.parametrize("path", [GENERATE, DENOISE, SCORE, COMPLETE, EDIT, RESTORE])
def test_a_body_without_end_is_cut_off(api: Api, path: str) -> None:
    sent = 0

    async def endless():
        nonlocal sent
        while True:
            sent += 1
            yield b" " * 10_000

    detail = assert_envelope(api.post(path, content=endless(), headers=JSON), 413)
    assert "the limit is 200000" in detail or "more than 200000 bytes" in detail
    assert sent <= 25


class TestRoutes:
    @pytest.mark.parametrize("path", ["/nowhere", "/v1", "/v1/models/a/b", "/v1/images", "/docs/assets/nothing.js"])
    def test_no_such_route(self, api: Api, path: str) -> None:
        assert_envelope(api.get(path), 404)

    @pytest.mark.parametrize("path", [GENERATE, DENOISE, SCORE, COMPLETE])
    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE"])
    def test_no_such_method(self, api: Api, path: str, method: str) -> None:
        answer = api.run(api.send(method, path))
        if method == "HEAD":
            assert answer.status_code == 405
        else:
            assert_envelope(answer, 405)
        assert answer.headers["allow"] == "POST"

    def test_a_get_route_allows_get_and_head(self, api: Api) -> None:
        answer = api.post("/v1/models")
        assert_envelope(answer, 405)
        assert sorted(answer.headers["allow"].split(", ")) == ["GET", "HEAD"]

    def test_a_state_of_no_kind(self, api: Api) -> None:
        assert "expected one of ready, all" in assert_envelope(api.get("/v1/models?state=x"), 422, "state")


class TestRequestId:
    def test_one_is_made(self, api: Api) -> None:
        ids = {api.get("/v1/models").headers["x-request-id"] for _ in range(5)}
        assert len(ids) == 5

    def test_a_given_one_is_kept(self, api: Api) -> None:
        answer = api.post(GENERATE, json={"n": 0}, headers={"x-request-id": "abc-1.2_3"})
        assert answer.headers["x-request-id"] == "abc-1.2_3"
        assert_envelope(answer, 422, "n")

    @pytest.mark.parametrize("given", ["", "a b", "x" * 65, "a\tb", "<script>"])
    def test_one_that_could_do_harm_is_replaced(self, api: Api, given: str) -> None:
        answer = api.get("/v1/models", headers={"x-request-id": given})
        assert answer.headers["x-request-id"] != given
        assert answer.headers["x-request-id"]


class TestLoad:
    def test_a_full_queue_is_429_at_once_with_a_time_to_come_back(self, make_api: Callable[..., Api]) -> None:
        api = make_api(queue_requests=2)
        api.gate.close()

        async def talk() -> tuple[list[httpx.Response], list[httpx.Response]]:
            first = [asyncio.create_task(api.send("POST", GENERATE, json={"seed": i})) for i in range(2)]
            while api.engine.live < 2:
                await asyncio.sleep(0.005)
            refused = [
                await api.send("POST", path, **request)
                for path, request in (
                    (GENERATE, {"json": {}}),
                    (GENERATE, {"json": {"stream": True}}),
                    (DENOISE, {"json": {"image": IMAGE}}),
                    (EDIT, {"json": {"image": IMAGE, "mask": MASK}}),
                    (RESTORE, {"json": {"image": IMAGE}}),
                    (SCORE, {"json": {"input": "a"}}),
                    (COMPLETE, {"json": {}}),
                    (COMPLETE, {"json": {"stream": True}}),
                )
            ]
            api.gate.open()
            return [await task for task in first], refused

        start = time.monotonic()
        served, refused = api.run(talk())
        assert time.monotonic() - start < 5
        for answer in refused:
            assert "Retry-After" in assert_envelope(answer, 429)
            assert int(answer.headers["retry-after"]) >= 1
        assert [answer.status_code for answer in served] == [200, 200]
        assert api.post(GENERATE, json={}).status_code == 200

    def test_too_late_is_504_and_the_work_is_given_up(self, make_api: Callable[..., Api]) -> None:
        api = make_api(request_timeout_seconds=0.1)
        api.gate.close()
        for path, request in ((GENERATE, {"json": {}}), (COMPLETE, {"json": {}})):
            assert "0.1 s" in assert_envelope(api.post(path, **request), 504)
        api.gate.open()
        api.run(api.idle())
        assert api.post(GENERATE, json={}).status_code == 200

    def test_a_stream_that_is_too_late_ends_with_the_error(self, make_api: Callable[..., Api]) -> None:
        api = make_api(request_timeout_seconds=0.1)
        api.gate.close()
        answer = api.post(COMPLETE, json={"stream": True})
        assert answer.status_code == 200
        assert answer.text.endswith("data: [DONE]\n\n")
        assert '"code":"deadline_exceeded"' in answer.text
        drawn = api.post(GENERATE, json={"stream": True}).text
        assert drawn.startswith("event: error\n")
        assert '"code":"deadline_exceeded"' in drawn
        api.gate.open()
        api.run(api.idle())

    def test_a_stopping_service_is_503(self, make_api: Callable[..., Api]) -> None:
        api = make_api()
        api.engine.stop()
        for path, request in ((GENERATE, {"json": {}}), (COMPLETE, {"json": {"stream": True}})):
            assert "stopping" in assert_envelope(api.post(path, **request), 503)


class TestModels:
    def test_a_refused_model_is_503_with_the_reason(self, make_api: Callable[..., Api], store: Path) -> None:
        breakage = BROKEN["wrong hash"]
        breakage.spoil(store / GENERATOR / "1")
        api = make_api()
        answer = api.post(GENERATE, json={})
        detail = assert_envelope(answer, 503, "model")
        assert "was refused" in detail
        assert int(answer.headers["retry-after"]) >= 1
        assert api.post(COMPLETE, json={}).status_code == 200

    def test_a_graph_that_fails_is_the_model_s_fault_and_nobody_else_s(self, make_api: Callable[..., Api]) -> None:
        api = make_api()

        def run_with_iobinding(binding: Any) -> None:
            raise RuntimeError("secret: /srv/model.onnx")

        model = api.catalog.find(GENERATOR).model
        for runner in model.runners.values():
            runner._session.run_with_iobinding = run_with_iobinding  # type: ignore[method-assign]
        detail = assert_envelope(api.post(GENERATE, json={}), 500, code="model_failed")
        assert "secret" not in detail
        assert api.post(COMPLETE, json={}).status_code == 200

    def test_a_bug_of_ours_shows_no_insides(self, make_api: Callable[..., Api]) -> None:
        api = make_api()

        class Broken:
            def get(self, *_: Any) -> None:
                raise ZeroDivisionError("secret")

            def default(self, *_: Any) -> str:
                return "x"

        object.__setattr__(api.app.state.service, "catalog", Broken())
        answer = api.post(GENERATE, json={})
        assert_envelope(answer, 500, code="internal_error")
        assert "secret" not in answer.text
