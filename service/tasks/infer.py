"""Infer: one of a model's graphs, run on tensors as they are, for clients who know what the graph takes.

What the graph would read past its end, or answer with nonsense, is refused: shapes, token ids, lengths and classes are
checked by the manifest. A `next_token` graph is run statelessly: its caller sends the past and gets the present, each call
in a batch of its own.
"""

import math
from collections.abc import Mapping

import numpy as np

from contract import Capability, TensorSpec
from contract.manifest import Manifest
from service.engine.job import Arrays, Job, LoneCall, RowCall
from service.errors import Invalid, ModelFailed, TooLarge
from service.model import LoadedModel
from service.settings import Settings
from service.tasks import past
from service.tasks.samples import check_values

_DRAW_IMAGES = (Capability.DECODE, Capability.RECONSTRUCT, Capability.DENOISE_STEP)
_GIVEN_FIRST = (Capability.LOG_DENSITY, Capability.SCORE)
"""Of their tokens the first is given: a row may have one more than the context."""


def infer(model: LoadedModel, capability: Capability, inputs: Arrays) -> Job:
    """Run a graph on inputs that check() let through. Returns its outputs by name, as the manifest orders them."""
    outputs = yield (LoneCall if capability is Capability.NEXT_TOKEN else RowCall)(capability, inputs)
    for name, array in outputs.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ModelFailed(
                f"model {model.id}.{capability} returned numbers in {name} that are none, for these inputs"
            )
    return {tensor.name: outputs[tensor.name] for tensor in model.manifest.capabilities[capability].outputs}


def work(model: LoadedModel, capability: Capability, inputs: Arrays) -> float:
    """What it costs in the model's own unit: tokens, pixels where an image may be of any size, or rows."""
    ids = inputs.get("input_ids")
    if ids is not None:
        return float(ids.size)
    first = next(iter(inputs.values()))
    return float(first.size if None in model.manifest.data.shape else len(first))


def check(model: LoadedModel, capability: Capability, given: Mapping[str, np.ndarray], settings: Settings) -> Arrays:
    """The graph's inputs in its order. Raises Invalid or TooLarge, naming the tensor, what was expected and found."""
    manifest = model.manifest
    wanted = manifest.capabilities[capability].inputs
    names = [tensor.name for tensor in wanted]
    for name in given:
        if name not in names:
            expected = ", ".join(names)
            raise Invalid(
                f"{name[:80]}: {model.id}.{capability} has no such input; it takes {expected}", field="inputs"
            )
    sides: dict[str, int] = {}
    for tensor in wanted:
        if tensor.name not in given:
            raise Invalid(f"{tensor.name}: expected {_spelled(tensor)}, found none: send it", field=tensor.name)
        _check_shape(tensor, given[tensor.name], sides)
    rows = next((array.shape[0] for array in given.values() if array.ndim), 0)
    most = _most_rows(manifest, capability, settings)
    if not 1 <= rows <= most:
        kind = Invalid if rows < 1 else TooLarge
        raise kind(f"{names[0]}: expected 1 to {most} rows, found {rows}: send them in parts", field=names[0])
    for name in names:
        _check_values(manifest, capability, name, given)
    if capability is Capability.NEXT_TOKEN:
        past.check(manifest, given)
    elif manifest.data.kind == "image" and None in manifest.data.shape:
        _check_sides(manifest, capability, names[0], given[names[0]], settings)
    return {name: given[name] for name in names}


def _most_rows(manifest: Manifest, capability: Capability, settings: Settings) -> int:
    if capability is Capability.NEXT_TOKEN:
        return settings.max_prompts
    return settings.max_images if manifest.data.kind == "image" and capability in _DRAW_IMAGES else settings.max_rows


def _check_shape(tensor: TensorSpec, array: np.ndarray, sides: dict[str, int]) -> None:
    """Refuse another dtype or shape than the manifest's; `sides` holds what its symbols stand for so far."""
    known = ", ".join(f"{name} = {side}" for name, side in sides.items() if name in tensor.shape)
    fits = array.ndim == len(tensor.shape) and all(
        side == (want if isinstance(want, int) else sides.setdefault(want, side))
        for want, side in zip(tensor.shape, array.shape, strict=True)
    )
    if array.dtype.name != tensor.dtype or not fits:
        found = f"{array.dtype.name}{list(array.shape)}"
        raise Invalid(
            f"{tensor.name}: expected {_spelled(tensor)}{f' with {known}' if known else ''}, found {found}",
            field=tensor.name,
        )


def _spelled(tensor: TensorSpec) -> str:
    return f"{tensor.dtype}[{', '.join(map(str, tensor.shape))}]"


def _check_values(manifest: Manifest, capability: Capability, name: str, given: Mapping[str, np.ndarray]) -> None:
    """Refuse token ids, lengths, classes and noise levels that mean nothing to the graph."""
    array = given[name]
    low: float
    high: float
    if name == "input_ids":
        text, pixels = manifest.text, manifest.pixels
        low, high = 0, (text.vocabulary if text else max(pixels.levels, pixels.start_token + 1) if pixels else 1) - 1
        room = manifest.context + (capability in _GIVEN_FIRST)
        if not 1 <= array.shape[1] <= room:
            raise Invalid(
                f"{name}: expected rows of 1 to {room} tokens, found {array.shape[1]}: send parts", field=name
            )
    elif name == "lengths" and "input_ids" in given:
        low, high = 1, given["input_ids"].shape[1]
    elif name == "label" and manifest.data.class_names:
        # One more than there are classes means none of them, to graphs that can be guided.
        low, high = 0, len(manifest.data.class_names) - (capability is Capability.DECODE)
    elif name == "sigma" and manifest.sigma_range is not None:
        # Negative: unknown, to a graph that can do without it.
        array = array[array >= 0] if capability is Capability.RECONSTRUCT else array
        low, high = np.array(manifest.sigma_range, np.float32).tolist()
    else:
        return
    check_values(name, array, low, high)


def _check_sides(manifest: Manifest, capability: Capability, name: str, array: np.ndarray, settings: Settings) -> None:
    """Refuse an image with sides that the graph cannot take, or one so large that memory is not bounded."""
    restoration, (height, width) = manifest.restoration, array.shape[2:]
    enlarges = capability is Capability.RECONSTRUCT and restoration and restoration.degradation == "downscale"
    factor = (restoration.factor or 1) if enlarges and restoration else 1
    multiple = manifest.data.side_multiple // math.gcd(manifest.data.side_multiple, factor)
    if min(height, width) < 1 or height % multiple or width % multiple:
        raise Invalid(f"{name}: expected sides that are multiples of {multiple}, found {height} × {width}", field=name)
    most = min(settings.max_pixels, settings.max_batch_elements)
    if height * width > most:
        raise TooLarge(
            f"{name}: {height * width} pixels, the limit is {most}: send tiles, or ask /v1/images, which cuts them",
            field=name,
        )
