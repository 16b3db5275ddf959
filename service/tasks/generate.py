"""Generate: draw images from a model that decodes latents."""

from dataclasses import dataclass

import numpy as np

from contract import Capability
from service.engine.job import Job, RowCall
from service.errors import Invalid, ModelFailed
from service.model import LoadedModel
from service.samplers import noise


@dataclass(frozen=True)
class Drawing:
    """What to draw. Sample i is a function of the model, the seed, i and its label alone.

    `labels` (n,) int64 or None; `latents` (n, Z) float32 instead of drawn ones.
    """

    n: int
    seed: int
    labels: np.ndarray | None = None
    latents: np.ndarray | None = None

    @property
    def work(self) -> float:
        """Rows."""
        return float(self.n)


def plan(
    model: LoadedModel,
    n: int,
    seed: int,
    label: int | None,
    latents: list[list[float]] | None,
    unsupported: dict[str, object],
) -> Drawing:
    """Check a request against the model.

    Without a label the classes take turns, so that a grid shows all of them. Raises Invalid.
    """
    for name, value in unsupported.items():
        if value is not None:
            raise Invalid(
                f"{name}: model {model.id} draws in one evaluation and has no {name}: leave it out", field=name
            )
    classes = len(model.manifest.data.class_names)
    labels = None
    if model.takes(Capability.DECODE, "label"):
        labels = np.arange(n, dtype=np.int64) % classes if label is None else np.full(n, label, np.int64)
    elif label is not None:
        raise Invalid(f"label: model {model.id} draws without a class: leave label and prompt out", field="label")
    array = None
    if latents is not None:
        size = model.manifest.latent.size if model.manifest.latent else 0
        if len(latents) != n or any(len(row) != size for row in latents):
            raise Invalid(f"latents: expected {n} × {size} numbers (n × latent size)", field="latents")
        with np.errstate(over="ignore"):
            array = np.array(latents, np.float32)
        if not np.isfinite(array).all():
            raise Invalid("latents: expected numbers that fit into float32, found a larger one", field="latents")
    return Drawing(n, seed, labels, array)


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


def draw(model: LoadedModel, drawing: Drawing) -> Job:
    """Draw images. Returns (n, C, H, W) float32 in [0, 1]."""
    latent = model.manifest.latent
    assert latent is not None, "the contract asks for it"
    z = drawing.latents
    if z is None:
        z = noise.normal(drawing.seed, drawing.n, (latent.size,))  # (n, Z)
    inputs = {"z": z} if drawing.labels is None else {"z": z, "label": drawing.labels}
    outputs = yield RowCall(Capability.DECODE, inputs)
    if not np.isfinite(outputs["x"]).all():
        raise ModelFailed(f"model {model.id} drew pixels that are no numbers: draw with another seed")
    return np.clip(outputs["x"], 0.0, 1.0)
