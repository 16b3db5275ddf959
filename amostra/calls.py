"""The calls of models, images, rows, scores, embeddings and texts: the request that each sends, and what is made of the answer.

`Client` and `AsyncClient` have each function of this file, and of `amostra.batches`, as a method.
"""

from collections.abc import Sequence
from typing import Any, Literal, TypedDict, Unpack
from urllib.parse import quote

import httpx

from amostra import answers, events, sent
from amostra.answers import Calibration, Choice, Completion, Drift, Embeddings, Images, Model, Preview, Rows, Scores
from amostra.call import Call, StreamCall, content_of
from amostra.sent import NPY, Body, Items, Picture, Pictures

PNG, EVENTS = "image/png", "text/event-stream"


class Drawing(TypedDict, total=False):
    """What can be said of images that are drawn, whole or in part."""

    model: str
    """Name, or name@version; the task's default if left out."""
    label: int
    """A class by its number, instead of the prompt."""
    n: int
    seed: int
    """The same seed gives the same bytes. Drawn by the service if left out; the answer has it."""
    steps: int
    """Noise levels, for models that take them."""
    sampler: str
    guidance: float
    """How far to go towards the class; 1 is without guidance."""
    temperature: float
    """For models that draw value by value."""


class Writing(TypedDict, total=False):
    """What can be said of completions."""

    model: str
    max_tokens: int
    temperature: float
    """0 takes the likeliest token."""
    top_p: float
    top_k: int
    n: int
    """Completions of each prompt."""
    seed: int
    stop: str | Sequence[str]
    logprobs: int
    """So many of the likeliest tokens are reported at each place."""
    echo: bool


def models(state: Literal["ready", "all"] = "ready") -> Call[list[Model]]:
    """The models that serve; with `all` those too that are being loaded or were refused, and other versions."""
    return Call("GET", "/v1/models", answers.models_of, Body(query={"state": state}))


def model(name: str) -> Call[Model]:
    """One model and its manifest; `name` or `name@version`."""
    return Call("GET", _of(name), answers.model_of)


def sheet(name: str) -> Call[bytes]:
    """A picture of what a model does, as PNG."""
    return Call("GET", _of(name, "/sheet"), content_of, accept=PNG)


def drift(name: str) -> Call[Drift]:
    """How far the p-values that a model gave of late are from those of normal data."""
    return Call("GET", _of(name, "/drift"), answers.drift_of)


def calibration(name: str) -> Call[Calibration]:
    """How the scores of normal items are spread, by each of a model's statistics."""
    return Call("GET", _of(name, "/calibration"), answers.calibration_of)


def generate(
    prompt: str | None = None,
    *,
    seeds: Sequence[int] | None = None,
    latents: Any = None,
    **drawing: Unpack[Drawing],
) -> Call[Images]:
    """Draw images of the class `prompt`, or of whatever the model draws: (N, C, H, W) in [0, 1].

    `seeds` draws n images on the way from each seed's first one to the next's; `latents` (N, latent size) decodes these.
    """
    body = sent.of_json({"prompt": prompt, "seeds": seeds, "latents": latents, **drawing})
    return Call("POST", "/v1/images/generations", answers.images_of, body, NPY)


def generate_stream(
    prompt: str | None = None,
    *,
    partial_images: int = 3,
    seeds: Sequence[int] | None = None,
    latents: Any = None,
    **drawing: Unpack[Drawing],
) -> StreamCall[Preview]:
    """As generate, with up to `partial_images` previews of each image before it. Needs Pillow: the extra `cli`."""
    wishes = {"prompt": prompt, "seeds": seeds, "latents": latents, **drawing}
    body = sent.of_json({**wishes, "stream": True, "partial_images": partial_images})
    return StreamCall(Call("POST", "/v1/images/generations", _itself, body, EVENTS), events.preview_of)


def edit(
    image: Picture, mask: Picture | None = None, prompt: str | None = None, **drawing: Unpack[Drawing]
) -> Call[Images]:
    """Draw a part of an image anew, n times.

    That part is where `mask` (H, W) is above a half, or a mask's picture white or transparent; without a mask, where the
    image's own picture is transparent.
    """
    parts = [("image", sent.picture(image))]
    if mask is not None:
        parts.append(("mask", sent.picture(mask)))
    body = sent.of_parts(parts, {"prompt": prompt, **drawing})
    return Call("POST", "/v1/images/edits", answers.images_of, body, NPY)


def denoise(images: Pictures, *, sigma: float | None = None, model: str | None = None) -> Call[Images]:
    """Remove noise of the standard deviation `sigma` (for images in [0, 1]), which is estimated if left out."""
    body = sent.of_pictures(images, {"sigma": sigma, "model": model})
    return Call("POST", "/v1/images/denoise", answers.images_of, body, NPY)


def restore(images: Pictures, *, sigma: float | None = None, model: str | None = None) -> Call[Images]:
    """Undo what the model undoes: `restores` in models()."""
    body = sent.of_pictures(images, {"sigma": sigma, "model": model})
    return Call("POST", "/v1/images/restore", answers.images_of, body, NPY)


def sample(
    *,
    model: str | None = None,
    n: int | None = None,
    seed: int | None = None,
    seeds: Sequence[int] | None = None,
    latents: Any = None,
    prompt: str | None = None,
    label: int | None = None,
) -> Call[Rows]:
    """Draw rows of a table.

    `seeds` draws n rows on the way from each seed's first one to the next's; `latents` (N, latent size) decodes these.
    """
    wishes = {"model": model, "n": n, "seed": seed, "seeds": seeds, "latents": latents}
    body = sent.of_json({**wishes, "prompt": prompt, "label": label})
    return Call("POST", "/v1/rows/generations", answers.rows_of, body)


def score(
    items: Items,
    *,
    model: str | None = None,
    alpha: float | None = None,
    fdr: float | None = None,
    statistic: str | None = None,
    explain: bool = False,
) -> Call[Scores]:
    """How normal items are: pictures, texts, vectors, rows or tables.

    At most a share `alpha` of normal items is flagged; with `fdr` at most such a share of the flagged is a false alarm.
    """
    asked = {"model": model, "alpha": alpha, "fdr": fdr, "statistic": statistic, "explain": explain or None}
    return Call("POST", "/v1/score", answers.scores_of, sent.of_items(items, asked))


def overlay(images: Pictures, *, model: str | None = None) -> Call[bytes]:
    """The images with their surprise laid over them, as PNG: a grid where there are several."""
    return Call("POST", "/v1/score", content_of, sent.of_pictures(images, {"model": model}), PNG)


def embed(items: Items, *, model: str | None = None) -> Call[Embeddings]:
    """A vector for each item: pictures, texts, vectors, rows or tables."""
    return Call("POST", "/v1/embeddings", answers.embeddings_of, sent.of_items(items, {"model": model}), NPY)


def complete(prompt: str | Sequence[str] = "", **writing: Unpack[Writing]) -> Call[Completion]:
    """Complete one prompt or several."""
    return Call("POST", "/v1/completions", answers.completion_of, sent.of_json({"prompt": prompt, **writing}))


def complete_stream(prompt: str | Sequence[str] = "", **writing: Unpack[Writing]) -> StreamCall[Choice]:
    """As complete, piece by piece as it is written. Closing the stream ends the writing."""
    body = sent.of_json({"prompt": prompt, **writing, "stream": True})
    return StreamCall(Call("POST", "/v1/completions", _itself, body, EVENTS), events.choice_of)


def _of(name: str, what: str = "") -> str:
    return f"/v1/models/{quote(name, safe='@')}{what}"


def _itself(response: httpx.Response) -> httpx.Response:
    return response
