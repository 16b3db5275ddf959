"""Routes of images: draw them, remove noise from them."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from service.api import answer, body
from service.api.state import state_of
from service.api.waiting import run
from service.codecs import npy
from service.errors import Invalid, TooLarge
from service.model import LoadedModel
from service.samplers import noise
from service.schemas import DenoiseBody, DenoiseFields, GenerateBody
from service.tasks import denoise as denoising
from service.tasks import generate as generating

OFFERS = (answer.JSON, answer.PNG, npy.MEDIA_TYPE)


async def generate(request: Request) -> Response:
    """Draw images of a class, or of whatever the model draws."""
    state = state_of(request)
    ask = await body.read_json(request, GenerateBody, state.settings)
    kind = answer.choose(request, OFFERS, ask.response_format)
    model = state.catalog.get(ask.model or state.catalog.default("generate"), "generate")
    request.scope["amostra.model"] = model.id
    drawing = _plan(model, ask, state.settings.max_images)
    drawn = await run(state, request, model, generating.draw(model, drawing), drawing.work)
    state.metrics.images.labels(model.id, "generate").inc(drawing.n)
    names = model.manifest.data.class_names
    labels: list[Any] = [None] * drawing.n if drawing.labels is None else drawing.labels.tolist()
    each = [{"index": i, **({} if k is None else {"label": k, "class": names[k]})} for i, k in enumerate(labels)]
    return await answer.images(kind, drawn, {"model": model.id, "seed": drawing.seed}, each)


def _plan(model: LoadedModel, ask: GenerateBody, max_images: int) -> generating.Drawing:
    if ask.n > max_images:
        raise TooLarge(f"n: {ask.n} images, the limit is {max_images}: ask several times", field="n")
    _, height, width = model.manifest.data.shape
    if ask.size not in (None, "auto", f"{width}x{height}"):
        raise Invalid(f"size: model {model.id} draws {width}x{height}, found {ask.size!r}: leave it out", field="size")
    label = generating.resolve_label(model, ask.label, ask.prompt)
    iterative: dict[str, object] = {"steps": ask.steps, "sampler": ask.sampler, "guidance": ask.guidance}
    seed = noise.draw_seed() if ask.seed is None else ask.seed
    return generating.plan(model, ask.n, seed, label, ask.latents, iterative)


async def denoise(request: Request) -> Response:
    """Remove noise from one image or several of one size."""
    state = state_of(request)
    ask, files = await body.read_files(request, DenoiseBody, DenoiseFields, state.settings)
    kind = answer.choose(request, OFFERS, ask.response_format)
    model = state.catalog.get(ask.model or state.catalog.default("denoise"), "denoise")
    request.scope["amostra.model"] = model.id
    denoising.check_sigma(model, ask.sigma)
    noisy = body.images(files, model.manifest.data, state.settings)
    clean = await run(state, request, model, denoising.denoise(model, noisy, ask.sigma), denoising.work(noisy))
    state.metrics.images.labels(model.id, "denoise").inc(len(clean))
    return await answer.images(kind, clean, {"model": model.id}, [{"index": i} for i in range(len(clean))])
