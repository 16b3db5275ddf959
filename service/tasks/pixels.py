"""Pixels: images drawn token by token from a `next_token` model of grey levels.

A sequence is the start token and then an image's values, channel by channel in reading order; a token is a grey level,
round(x (levels - 1)). Every image is a job of its own, so that the images of one request and of others take their
steps together: functions here return a list of (job, work in tokens), as `Pending` takes them. Each job returns one
image (1, C, H, W) float32 in [0, 1]; `np.concatenate` makes the answer of them. Each takes a sequence's slot, as a
completion does, so what bounds the completions of a request bounds n.
"""

import numpy as np

from service.engine.job import Job, Sampling, SequenceCall
from service.errors import Invalid
from service.model import LoadedModel
from service.samplers import noise


def draw(model: LoadedModel, n: int, seed: int, temperature: float = 1.0) -> list[tuple[Job, float]]:
    """Draw n images; image i is a function of the model, the seed, i and the temperature alone."""
    channels, height, width = _shape(model)
    blank = np.zeros((1, channels, height, width), np.float32)
    return complete(model, blank, np.ones((height, width), bool), n, seed, temperature)


def complete(
    model: LoadedModel, images: np.ndarray, mask: np.ndarray, n: int, seed: int, temperature: float = 1.0
) -> list[tuple[Job, float]]:
    """Draw anew what the mask says, n times. images (1, C, H, W) float32 in [0, 1], mask (H, W) bool, True = draw.

    A pixel is drawn given all that stands before it in reading order, known or drawn, and nothing that stands after it:
    where the known pixels are a prefix (the upper half of a grey image) this is exact conditional sampling, elsewhere
    what follows a hole does not reach into it. Known pixels come back as they were given. Raises Invalid where the
    mask's sides are not the model's.
    """
    shape = _shape(model)
    if mask.shape != shape[1:]:
        found = " × ".join(map(str, mask.shape))
        raise Invalid(f"mask: expected {shape[1]} × {shape[2]} as the image, found {found}: resize it", field="mask")
    holes = np.broadcast_to(mask, shape).ravel()  # (D,)
    # Nothing is computed behind the last hole.
    work = float(np.flatnonzero(holes)[-1] + 1) if holes.any() else 1.0
    return [(_fill(model, images, holes, noise.uniform(seed, i, holes.size), temperature), work) for i in range(n)]


def _fill(model: LoadedModel, image: np.ndarray, holes: np.ndarray, uniform: np.ndarray, temperature: float) -> Job:
    """Draw the values where holes (D,) is True. Returns (1, C, H, W)."""
    pixels = model.manifest.pixels
    assert pixels is not None, "the contract asks for it"
    filled = image.astype(np.float32).ravel()  # (D,), a copy
    places = np.flatnonzero(holes)
    if not len(places):
        return filled.reshape(image.shape)
    top = pixels.levels - 1
    tokens = np.rint(filled.clip(0.0, 1.0) * top).astype(np.int64)
    drawn = slice(int(places[0]), int(places[-1]) + 1)
    tokens[drawn] = yield SequenceCall(
        np.concatenate([[pixels.start_token], tokens[: drawn.start]]),
        uniform[drawn],
        Sampling(temperature),
        given=np.where(holes[drawn], -1, tokens[drawn]),
    )
    filled[holes] = tokens[holes] / top
    return filled.reshape(image.shape)


def _shape(model: LoadedModel) -> tuple[int, int, int]:
    channels, height, width = (side or 0 for side in model.manifest.data.shape)
    return channels, height, width
