"""Edit: draw a part of an image anew; the rest stays exactly as it was sent.

denoise_step  the sampler's walk with the known pixels put into every estimate, and RePaint's jumps back
next_token    value by value, given the known ones before it
reconstruct   one evaluation of a model that undoes a mask: one answer, not a draw
"""

from dataclasses import dataclass

import numpy as np

from contract import Capability
from service.engine.job import Job
from service.errors import Invalid
from service.model import LoadedModel
from service.samplers import noise
from service.tasks import diffuse, pixels, restore
from service.tasks.generate import Jobs, check_ways
from service.tasks.samples import check_range


@dataclass(frozen=True)
class Ask:
    """What a request wishes for; None is no wish. `label` None is no class: nobody knows what the image shows."""

    n: int
    seed: int
    label: int | None = None
    steps: int | None = None
    sampler: str | None = None
    guidance: float | None = None
    temperature: float | None = None


def edit(model: LoadedModel, image: np.ndarray, hole: np.ndarray, ask: Ask) -> Jobs:
    """Draw what `hole` (H, W) bool says of an image (1, C, H, W) in [0, 1], n times.

    The jobs' results are (n, C, H, W) float32 in [0, 1], one after another. Raises Invalid.
    """
    capability = model.serving("edit")
    assert capability is not None, "the catalog gives models that can"
    names = ("steps", "sampler", "guidance", "temperature")
    check_ways(model, capability, {name: getattr(ask, name) for name in names})
    _check_label(model, capability, ask)
    check_hole(image, hole)
    check_range(image, model.manifest.data, "image")
    chosen = way(model, ask)
    if isinstance(chosen, float):
        jobs = pixels.complete(model, image, hole, ask.n, ask.seed, chosen)
    elif chosen is not None:
        _check_sides(model, image)
        jobs = [(_diffuse(model, image, hole, ask, chosen), chosen.work(ask.n, jumps=True))]
    else:
        if ask.n > 1:
            raise Invalid(f"n: model {model.id} fills a hole in one way only: leave n out, found {ask.n}", field="n")
        jobs = [(_reconstruct(model, image, hole), 1.0)]
    return [(_kept(model, job, image, hole), work) for job, work in jobs]


def way(model: LoadedModel, ask: Ask) -> diffuse.Course | float | None:
    """How the model fills a hole, its own defaults standing for what the request leaves out: on a sampler's walk, value
    by value at a temperature, or, None, in the one way that it has. Raises Invalid."""
    capability = model.serving("edit")
    if capability is Capability.DENOISE_STEP:
        return diffuse.plan(model, ask.steps, ask.sampler, ask.guidance, with_class=ask.label is not None)
    if capability is Capability.NEXT_TOKEN:
        own = model.manifest.sampling.temperature
        return float((1.0 if own is None else own) if ask.temperature is None else ask.temperature)
    return None


def check_hole(image: np.ndarray, hole: np.ndarray) -> None:
    """Refuse a mask that is not the image's, or leaves nothing to draw. Raises Invalid."""
    if hole.shape != image.shape[2:]:
        wanted, found = (" × ".join(map(str, sides)) for sides in (image.shape[2:], hole.shape))
        raise Invalid(f"mask: expected {wanted} as the image, found {found}: resize it", field="mask")
    if not hole.any():
        raise Invalid(
            "mask: expected pixels to draw anew, found none: make them transparent, or white in a mask without "
            "transparency",
            field="mask",
        )


def _check_label(model: LoadedModel, capability: Capability, ask: Ask) -> None:
    if ask.label is not None and not model.takes(capability, "label"):
        raise Invalid(f"label: model {model.id} draws without a class: leave label and prompt out", field="label")


def _check_sides(model: LoadedModel, image: np.ndarray) -> None:
    multiple = model.manifest.data.side_multiple
    if any(side % multiple for side in image.shape[2:]):
        found = " × ".join(map(str, image.shape[2:]))
        raise Invalid(
            f"image: expected sides that are multiples of {multiple}, found {found}: resize it", field="image"
        )


def _kept(model: LoadedModel, job: Job, image: np.ndarray, hole: np.ndarray) -> Job:
    """The job's images with the known pixels as they were."""
    drawn = restore.finished(model, (yield from job))
    return np.where(hole, drawn, image)


def _diffuse(model: LoadedModel, image: np.ndarray, hole: np.ndarray, ask: Ask, course: diffuse.Course) -> Job:
    shape = image.shape[1:]
    noises = diffuse.fresh_noise(ask.seed, ask.n, shape)
    labels = None if ask.label is None else np.full(ask.n, ask.label, np.int64)
    x = course.sigmas[0] * noise.normal(ask.seed, ask.n, shape)  # (n, C, H, W)

    def put_back(x0: np.ndarray) -> np.ndarray:
        """Where known pixels stand in every x0, the sampler has them as image + sigma n in every x."""
        return np.where(hole, x0, image)

    return (yield from diffuse.walk(model, course, x, labels, noises, put_back, jumps=True))


def _reconstruct(model: LoadedModel, image: np.ndarray, hole: np.ndarray) -> Job:
    restoration = model.manifest.restoration
    assert restoration is not None, "a model that cannot undo a mask serves no edits"
    fill = 0.0 if restoration.fill is None else restoration.fill
    return (yield from restore.restore(model, np.where(hole, np.float32(fill), image)))
