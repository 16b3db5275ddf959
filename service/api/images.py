"""Routes of images: draw them, draw a part of one anew, remove noise from them, undo what was done to them."""

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from contract import Capability
from service.api import answer, asked, body, previews
from service.api.aside import aside
from service.api.held import Hold, hold_of
from service.api.results import results
from service.api.state import state_of
from service.codecs import npy, picture
from service.errors import Invalid, TooLarge
from service.model import LoadedModel
from service.samplers import noise
from service.schemas import DenoiseBody, DenoiseFields, EditBody, EditFields, GenerateBody, RestoreBody
from service.settings import Settings
from service.tasks import denoise as denoising
from service.tasks import edit as editing
from service.tasks import generate as generating
from service.tasks import restore as restoring
from service.tasks import samples

OFFERS = (answer.JSON, answer.PNG, npy.MEDIA_TYPE)


async def generate(request: Request) -> Response:
    """Draw images of a class, or of whatever the model draws."""
    state = state_of(request)
    ask = await body.read_json(request, GenerateBody, state.settings)
    kind = "" if ask.stream else answer.choose(request, OFFERS, ask.response_format)
    model = await asked.model(request, state, ask.model, "generate")
    drawing = _plan(model, ask, _most(model, "generate", state.settings))
    about = {"model": model.id, **drawing.origin}
    each = answer.numbered(model.manifest, drawing.n, drawing.labels)
    if ask.stream:
        return previews.stream(request, state, model, drawing, ask.partial_images or 0, about, each)
    same = drawing.of_any_seed(ask.seed) if state.results.max_bytes else None
    jobs = generating.draw(model, drawing)
    drawn = np.concatenate(await results(request, state, model, "generate", jobs, same))
    state.metrics.drew(model.id, "generate", len(drawn))
    return await answer.images(kind, drawn, about, each)


async def edit(request: Request) -> Response:
    """Draw a part of an image anew."""
    state = state_of(request)
    ask, files = await body.read_files(request, EditBody, EditFields, state.settings, beside=("mask",))
    kind = answer.choose(request, OFFERS, ask.response_format)
    model = await asked.model(request, state, ask.model, "edit")
    much = body.is_much(request, files)
    image, hole = await aside(much, _image_and_hole, files, model, state.settings, hold_of(request))
    _check_n_and_size(model, ask, _most(model, "edit", state.settings), image.shape[2:])
    label = generating.resolve_label(model, ask.label, ask.prompt)
    seed = noise.draw_seed() if ask.seed is None else ask.seed
    wishes = editing.Ask(ask.n, seed, label, ask.steps, ask.sampler, ask.guidance, ask.temperature)
    jobs = editing.edit(model, image, hole, wishes)
    way = editing.way(model, wishes)
    told = ask.seed if way else 0  # one way only, or temperature 0: no seed makes a difference
    same = None if told is None else (image, hole, ask.n, told, label, way)
    drawn = np.concatenate(await results(request, state, model, "edit", jobs, same))
    state.metrics.drew(model.id, "edit", len(drawn))
    labels = None if label is None else np.full(ask.n, label)
    return await answer.images(
        kind, drawn, {"model": model.id, "seed": seed}, answer.numbered(model.manifest, ask.n, labels)
    )


async def denoise(request: Request) -> Response:
    """Remove noise from one image or several of one size."""
    state = state_of(request)
    ask, files = await body.read_files(request, DenoiseBody, DenoiseFields, state.settings)
    kind = answer.choose(request, OFFERS, ask.response_format)
    model = await asked.model(request, state, ask.model, "denoise")
    sigma, data, hold = ask.sigma, model.manifest.data, hold_of(request)
    denoising.check_sigma(model, sigma)
    noisy = await aside(body.is_much(request, files), body.images, files, data, state.settings, hold)
    del ask, files  # a request may wait for long
    hold.keep(noisy.nbytes)
    job = denoising.denoise(model, noisy, sigma), samples.work(noisy, data)
    done: denoising.Denoised
    (done,) = await results(request, state, model, "denoise", [job], (noisy, sigma))
    state.metrics.drew(model.id, "denoise", len(noisy))
    levels = [] if done.sigma is None else done.sigma.tolist()
    each = (
        {"index": i, **({"sigma": levels[i], "sigma_estimated": done.estimated} if levels else {})}
        for i in range(len(noisy))
    )
    return await answer.images(kind, done.images, {"model": model.id}, each)


async def restore(request: Request) -> Response:
    """Undo what was done to one image or several of one size."""
    state = state_of(request)
    ask, files = await body.read_files(request, RestoreBody, DenoiseFields, state.settings)
    kind = answer.choose(request, OFFERS, ask.response_format)
    model = await asked.model(request, state, ask.model, "restore")
    sigma, degraded, hold = ask.sigma, restoring.degraded(model), hold_of(request)
    restoring.check_sigma(model, sigma)
    images = await aside(body.is_much(request, files), body.images, files, degraded, state.settings, hold)
    del ask, files  # a request may wait for long
    hold.keep(images.nbytes)
    job = restoring.restore(model, images, sigma), samples.work(images, degraded)
    (whole,) = await results(request, state, model, "restore", [job], (images, sigma))
    state.metrics.drew(model.id, "restore", len(whole))
    return await answer.images(kind, whole, {"model": model.id}, answer.numbered(model.manifest, len(whole)))


def _plan(model: LoadedModel, ask: GenerateBody, max_images: int) -> generating.Drawing:
    _check_n_and_size(model, ask, max_images, model.manifest.data.shape[1:])
    if ask.partial_images and not ask.stream:
        raise Invalid("partial_images: only a stream has previews: send stream: true with it", field="partial_images")
    if ask.stream and ask.response_format not in (None, "b64_json"):
        raise Invalid(
            f"response_format: a stream carries b64_json, found {ask.response_format!r}: leave it out",
            field="response_format",
        )
    return generating.plan(
        model,
        generating.Ask(
            ask.n,
            generating.seed_of(ask.seed, ask.latents, ask.seeds),
            generating.resolve_label(model, ask.label, ask.prompt),
            ask.latents,
            tuple(ask.seeds or ()),
            ask.steps,
            ask.sampler,
            ask.guidance,
            ask.temperature,
        ),
    )


def _most(model: LoadedModel, task: str, settings: Settings) -> int:
    """Images of one request. Those that are drawn value by value take a sequence's slot each."""
    return settings.max_prompts if model.serving(task) is Capability.NEXT_TOKEN else settings.max_images


def _check_n_and_size(
    model: LoadedModel, ask: GenerateBody | EditFields, max_images: int, sides: tuple[int | None, ...]
) -> None:
    if ask.n > max_images:
        raise TooLarge(f"n: {ask.n} images, the limit is {max_images}: ask several times", field="n")
    height, width = sides
    if ask.size not in (None, "auto", f"{width}x{height}"):
        raise Invalid(f"size: model {model.id} draws {width}x{height}, found {ask.size!r}: leave it out", field="size")


def _image_and_hole(
    files: list[body.File], model: LoadedModel, settings: Settings, hold: Hold
) -> tuple[np.ndarray, np.ndarray]:
    """The one image (1, C, H, W), and where it is to be drawn anew: (H, W) bool."""
    pictures = [file for file in files if file.name != "mask"]
    masks = [file for file in files if file.name == "mask"]
    image = body.images(pictures, model.manifest.data, settings, hold)
    if len(image) != 1 or len(masks) > 1:
        found = f"{len(image)} images and {len(masks)} masks"
        raise Invalid(f"image: expected one image and at most one mask, found {found}: send them alone", field="image")
    if masks:
        return image, body.mask(masks[0], settings)
    is_array = pictures[0].blob.startswith(npy.MAGIC)
    hole = None if is_array else picture.decode_transparency(pictures[0].blob, settings.max_pixels, pictures[0].field)
    if hole is None:
        raise Invalid("mask: expected one, or an image with transparent pixels, found neither: send one", field="mask")
    return image, hole
