"""Diffuse: a sampler's walk from noise to images, on a model's `denoise_step` graph.

Guidance without a classifier (Ho and Salimans 2022, arXiv 2207.12598) mixes D(x; label) and D(x; no class), so it doubles the
rows; they are the same call, and share its batch with whoever is at any other noise level.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from contract import Capability
from contract.manifest import Sampler
from service.engine.job import Job, RowCall
from service.errors import Invalid
from service.model import LoadedModel
from service.samplers import diffusion, noise

X0 = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Course:
    """How to walk: the sampler, its noise levels from sigma_max down, and the guidance (1 is without)."""

    sampler: Sampler
    sigmas: tuple[float, ...]
    guidance: float = 1.0

    def evaluations(self, *, jumps: bool = False) -> int:
        """How often D is evaluated, guidance left out."""
        return diffusion.evaluations(self.sampler, self.sigmas, jumps=jumps)

    def work(self, n: int, *, jumps: bool = False) -> float:
        """Rows that n images take."""
        return float(n * (1 if self.guidance == 1 else 2) * self.evaluations(jumps=jumps))


def plan(
    model: LoadedModel, steps: int | None, sampler: str | None, guidance: float | None, *, with_class: bool
) -> Course:
    """Check a request's wishes against the model's; what is left out is the model's default. Raises Invalid.

    `with_class` says that the images are of a class each: there is nothing to guide towards otherwise.
    """
    own, sigma_range = model.manifest.sampling, model.manifest.sigma_range
    assert sigma_range is not None, "the contract asks for it"
    name: Sampler | None = own.samplers[0] if sampler is None else next((s for s in own.samplers if s == sampler), None)
    if name is None:
        raise Invalid(
            f"sampler: expected one of {', '.join(own.samplers)} for model {model.id}, found {sampler!r}",
            field="sampler",
        )
    number = own.steps if steps is None else steps
    if not 1 <= number <= own.max_steps:
        raise Invalid(f"steps: expected 1 to {own.max_steps} for model {model.id}, found {number}", field="steps")
    takes_class = model.takes(Capability.DENOISE_STEP, "label")
    if guidance is not None and not takes_class:
        raise Invalid(f"guidance: model {model.id} draws without a class: leave guidance out", field="guidance")
    if guidance is not None and not with_class:
        raise Invalid(
            f"guidance: {guidance:g} needs a class to guide towards: send label or prompt, or leave guidance out",
            field="guidance",
        )
    w = own.guidance if guidance is None else guidance
    sigmas = diffusion.schedule(name, number, sigma_range, own.rho)
    return Course(name, tuple(sigmas), w if w is not None and takes_class and with_class else 1.0)


def call(
    model: LoadedModel, x: np.ndarray, sigma: float | np.ndarray, labels: np.ndarray | None, after: int = 0
) -> RowCall:
    """One evaluation of D: x (n, C, H, W), sigma a number or (n,), labels (n,) or None for no class. So many will come
    after it."""
    inputs = {"x_t": x, "sigma": np.broadcast_to(np.asarray(sigma, np.float32), len(x))}
    if model.takes(Capability.DENOISE_STEP, "label"):
        no_class = np.full(len(x), len(model.manifest.data.class_names), np.int64)
        inputs["label"] = no_class if labels is None else labels
    return RowCall(Capability.DENOISE_STEP, inputs, ahead=max(0, after) * len(x))


def walk(
    model: LoadedModel,
    course: Course,
    x: np.ndarray,
    labels: np.ndarray | None,
    noises: Iterator[np.ndarray],
    on_x0: X0 = lambda x0: x0,
    *,
    jumps: bool = False,
) -> Job:
    """Walk from x = sigma_max n to images, both (n, C, H, W) float32; not clipped.

    `on_x0` is given each estimate of the images and returns the one that the sampler goes on with. labels (n,) or None.
    """
    rule = diffusion.SAMPLERS[course.sampler]
    steps = diffusion.from_noise(partial(diffusion.resampled, rule) if jumps else rule, x, course.sigmas, noises)
    x0, after = None, course.evaluations(jumps=jumps)
    while True:
        try:
            x, sigma = next(steps) if x0 is None else steps.send(x0)
        except StopIteration as stop:
            return stop.value
        after -= 1
        x0 = on_x0((yield from _guided(model, course.guidance, x, sigma, labels, after)))


def _guided(model: LoadedModel, w: float, x: np.ndarray, sigma: float, labels: np.ndarray | None, after: int) -> Job:
    """x0_null + w (x0_label - x0_null)."""
    if w == 1 or labels is None:
        return (yield call(model, x, sigma, labels, after))["x0"]
    no_class = np.full_like(labels, len(model.manifest.data.class_names))
    outputs = yield call(model, np.concatenate([x, x]), sigma, np.concatenate([labels, no_class]), after)
    of_class, of_none = np.split(outputs["x0"], 2)
    return of_none + w * (of_class - of_none)


def fresh_noise(seed: int, n: int, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Noise (n, *shape) for one step after another, keyed by seed, sample and step; step 0 is the latents'."""
    return (noise.normal(seed, n, shape, step) for step in itertools.count(1))
