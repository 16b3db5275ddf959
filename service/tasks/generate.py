"""Generate: draw images, or rows of a table, in the way that the model draws them.

    decode        a latent of unit noise -> an image or a row, in one evaluation
    denoise_step  an image of unit noise -> an image, in some evaluations
    next_token    nothing -> an image, value by value

`plan` checks a request against the model, `draw` makes the jobs. Sample i is a function of the model, the seed, i, its label
and how it is drawn, alone.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from contract import Capability
from service.engine.job import Job, RowCall
from service.errors import Invalid, ModelFailed
from service.model import LoadedModel
from service.samplers import latents, noise
from service.tasks import diffuse, pixels

Preview = Callable[[int, np.ndarray], None]
"""Is given the number of a preview, from 0, and the images as they stand: (n, C, H, W) in [0, 1]."""

_OF_ITS_OWN = {
    Capability.DENOISE_STEP: ("steps", "sampler", "guidance", "latents", "seeds"),
    Capability.DECODE: ("latents", "seeds"),
    Capability.NEXT_TOKEN: ("temperature",),
}
"""What a request may say to each way of drawing, beside how many and of which class."""
_HOW = {
    Capability.DENOISE_STEP: "draws from noise at temperature 1",
    Capability.NEXT_TOKEN: "draws value by value, without noise or latents,",
}

Jobs = list[tuple[Job, float]]
"""Jobs that return images (m, C, H, W) or vectors (m, D) each, n in all and in order, and their work."""


@dataclass(frozen=True)
class Ask:
    """What a request wishes for; None and () are no wish."""

    n: int
    seed: int
    label: int | None = None
    latents: list[list[float]] | None = None
    seeds: tuple[int, ...] = ()
    steps: int | None = None
    sampler: str | None = None
    guidance: float | None = None
    temperature: float | None = None


@dataclass(frozen=True)
class Drawing:
    """What to draw, and how. `labels` (n,) int64 or None; `noise` (n, *latent shape) float32 the explicit latents.

    With `seeds` the noise moves from one seed's to the next one's, and `seed` is not used. `course` None is the model's
    default.
    """

    n: int
    seed: int
    labels: np.ndarray | None = None
    noise: np.ndarray | None = None
    seeds: tuple[int, ...] = ()
    course: diffuse.Course | None = None
    temperature: float = 1.0

    @property
    def takes_seed(self) -> bool:
        """Whether the images depend on `seed`."""
        only_latents = self.noise is not None and self.course is None
        return not self.seeds and not only_latents and self.temperature > 0

    @property
    def origin(self) -> dict[str, Any]:
        """Where the noise comes from, as an answer says it."""
        return {"seeds": list(self.seeds)} if self.seeds else {"seed": self.seed}

    def of_any_seed(self, told: int | None) -> "Drawing | None":
        """What all requests have in common whose result is this one's. `told` is the request's own seed: without one, where
        it matters, there is no other such request."""
        seed = told if self.takes_seed else 0
        return None if seed is None else replace(self, seed=seed)

    def unit_noise(self, shape: tuple[int, ...], step: int = 0) -> np.ndarray:
        """The noise of a step: that of step 0 is the latents. Returns (n, *shape) float32."""
        if step == 0 and self.noise is not None:
            return self.noise.reshape(self.n, *shape)
        if self.seeds:
            return latents.path(self.seeds, self.n, shape, step)
        return noise.normal(self.seed, self.n, shape, step)


def plan(model: LoadedModel, ask: Ask) -> Drawing:
    """Check a request against the model. Raises Invalid.

    Without a label the classes take turns, so that a grid shows all of them; but the images between seeds are all of one
    class, which is then the first: the one of each seed's sample 0.
    """
    capability = _capability(model)
    _check_fields(model, capability, ask)
    classes = len(model.manifest.data.class_names)
    labels = None
    if model.takes(capability, "label"):
        turns = np.zeros(ask.n, np.int64) if ask.seeds else np.arange(ask.n, dtype=np.int64) % max(1, classes)
        labels = turns if ask.label is None else np.full(ask.n, ask.label, np.int64)
    elif ask.label is not None:
        raise Invalid(f"label: model {model.id} draws without a class: leave label and prompt out", field="label")
    if ask.seeds and ask.n < len(ask.seeds):
        raise Invalid(
            f"n: {ask.n} samples cannot show {len(ask.seeds)} seeds: ask for {len(ask.seeds)} or more", field="n"
        )
    course = None
    if capability is Capability.DENOISE_STEP:
        course = diffuse.plan(model, ask.steps, ask.sampler, ask.guidance, with_class=labels is not None)
    own = model.manifest.sampling.temperature
    default = 1.0 if own is None else own
    temperature = default if ask.temperature is None else ask.temperature
    return Drawing(ask.n, ask.seed, labels, _latents(model, capability, ask), ask.seeds, course, temperature)


def draw(model: LoadedModel, drawing: Drawing, previews: int = 0, preview: Preview | None = None) -> Jobs:
    """Draw. The jobs' results are images (n, C, H, W) in [0, 1] or vectors (n, D), float32, one after another.

    Where they come about in several evaluations, `preview` is called up to `previews` times on the way.
    """
    capability = _capability(model)
    if capability is Capability.NEXT_TOKEN:
        return pixels.draw(model, drawing.n, drawing.seed, drawing.temperature)
    if capability is Capability.DECODE:
        return [(_decode(model, drawing), float(drawing.n))]
    with_class = drawing.labels is not None
    course = drawing.course or diffuse.plan(model, None, None, None, with_class=with_class)
    moments = _moments(course, previews)
    return [(_diffuse(model, drawing, course, moments, preview), course.work(drawing.n))]


def seed_of(seed: int | None, latents: object, seeds: object) -> int:
    """The seed to draw with: the request's, or a new one. Raises Invalid where seeds are not all that is said of it."""
    given = [name for name, value in (("seed", seed), ("latents", latents), ("seeds", seeds)) if value is not None]
    if "seeds" in given and len(given) > 1:
        raise Invalid(f"seeds: {' and '.join(given)} all say where to begin: send seeds alone", field="seeds")
    return noise.draw_seed() if seed is None else seed


def resolve_label(model: LoadedModel, label: int | None, prompt: str | None) -> int | None:
    """The class index that a label or a class name means; neither means no wish. Raises Invalid."""
    names = model.manifest.data.class_names
    wish = (prompt or "").strip()
    if label is not None and wish:
        raise Invalid(f"label: {label} and prompt {wish[:80]!r} both name a class: send one of them", field="label")
    if wish:
        lower = [name.lower() for name in names]
        if wish.lower() not in lower:
            raise Invalid(
                f"prompt: {wish[:80]!r} is no class of model {model.id}; classes are {', '.join(names) or 'none'}",
                field="prompt",
            )
        return lower.index(wish.lower())
    if label is not None and not 0 <= label < len(names):
        raise Invalid(
            f"label: {label} is no class of model {model.id}; use 0 to {len(names) - 1}"
            if names
            else f"label: model {model.id} has no classes: leave it out",
            field="label",
        )
    return label


def check_ways(model: LoadedModel, capability: Capability, wishes: dict[str, object]) -> None:
    """Refuse wishes that the model's way to draw has no use for. Raises Invalid."""
    for name, value in wishes.items():
        if value not in (None, ()) and name not in _OF_ITS_OWN.get(capability, ()):
            how = _HOW.get(capability, "draws in one evaluation")
            raise Invalid(f"{name}: model {model.id} {how} and has no {name}: leave it out", field=name)


def _capability(model: LoadedModel) -> Capability:
    capability = model.serving("generate") or model.serving("sample")
    assert capability is not None, "the catalog gives models that can"
    return capability


def _check_fields(model: LoadedModel, capability: Capability, ask: Ask) -> None:
    names = ("steps", "sampler", "guidance", "temperature", "latents", "seeds")
    check_ways(model, capability, {name: getattr(ask, name) for name in names})
    if None in model.manifest.data.shape:
        raise Invalid(f"model: images of model {model.id} have no size of their own: choose another", field="model")


def _latent_shape(model: LoadedModel, capability: Capability) -> tuple[int, ...]:
    latent = model.manifest.latent
    if capability is Capability.DECODE:
        assert latent is not None, "the contract asks for it"
        return (latent.size,)
    return tuple(side or 0 for side in model.manifest.data.shape)


def _latents(model: LoadedModel, capability: Capability, ask: Ask) -> np.ndarray | None:
    """The request's latents (n, size), None where it has none."""
    if ask.latents is None:
        return None
    size = math.prod(_latent_shape(model, capability))
    if len(ask.latents) != ask.n or any(len(row) != size for row in ask.latents):
        raise Invalid(f"latents: expected {ask.n} × {size} numbers (n × latent size)", field="latents")
    with np.errstate(over="ignore"):
        array = np.array(ask.latents, np.float32)
    if not np.isfinite(array).all():
        raise Invalid("latents: expected numbers that fit into float32, found a larger one", field="latents")
    return array


def _decode(model: LoadedModel, drawing: Drawing) -> Job:
    z = drawing.unit_noise(_latent_shape(model, Capability.DECODE))  # (n, Z)
    inputs = {"z": z} if drawing.labels is None else {"z": z, "label": drawing.labels}
    outputs = yield RowCall(Capability.DECODE, inputs)
    return _finished(model, outputs["x"])


def _diffuse(
    model: LoadedModel, drawing: Drawing, course: diffuse.Course, moments: list[int], preview: Preview | None
) -> Job:
    shape = _latent_shape(model, Capability.DENOISE_STEP)
    noises = (drawing.unit_noise(shape, step) for step in itertools.count(1))
    counted = itertools.count(1)

    def on_x0(x0: np.ndarray) -> np.ndarray:
        if (number := next(counted)) in moments and preview is not None:
            preview(moments.index(number), _finished(model, x0))
        return x0

    x = course.sigmas[0] * drawing.unit_noise(shape)  # (n, C, H, W)
    return _finished(model, (yield from diffuse.walk(model, course, x, drawing.labels, noises, on_x0)))


def _moments(course: diffuse.Course, previews: int) -> list[int]:
    """After which evaluations a preview is due: evenly, and none after the last."""
    last = course.evaluations()
    return sorted({round(last * (k + 1) / (previews + 1)) for k in range(previews)} - {0, last})


def _finished(model: LoadedModel, drawn: np.ndarray) -> np.ndarray:
    if not np.isfinite(drawn).all():
        raise ModelFailed(f"model {model.id} drew values that are no numbers: draw with another seed")
    return drawn.clip(0.0, 1.0) if model.fits("image") else drawn
