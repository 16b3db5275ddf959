"""Deliberately simple images: what a plain likelihood finds likelier than the data it was fitted to.

(N, 1, side, side) float32 in [0, 1], in 256 grey levels: one part in four is one grey, one is black (with at most one
pixel of ink), one is a single straight stroke, one is split into two greys by a straight edge.
"""

import numpy as np
from numpy.typing import NDArray

from training.evaluation.corruptions import to_grey_levels

Grey = NDArray[np.float32]


def simple_images(count: int, side: int, seed: int) -> Grey:
    rng = np.random.default_rng(seed)
    kinds = (_grey, _dot, _stroke, _halves)
    return to_grey_levels(np.stack([kinds[i % len(kinds)](side, rng) for i in range(count)])[:, None])


def _grey(side: int, rng: np.random.Generator) -> NDArray[np.float64]:
    return np.full((side, side), rng.random())


def _dot(side: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Black, every second one with a pixel of ink."""
    image = np.zeros((side, side))
    image[tuple(rng.integers(side, size=2))] = rng.random() * rng.integers(2)
    return image


def _stroke(side: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """A white line of any length, direction and place, 1 to 4 pixels thick, with soft edges."""
    first, last = rng.uniform(2, side - 2, (2, 2))
    thickness = rng.uniform(1, 4)
    at = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), axis=-1)  # (side, side, 2)
    along = last - first
    share = np.clip((at - first) @ along / max(along @ along, 1e-6), 0, 1)
    distance = np.linalg.norm(at - first - share[..., None] * along, axis=-1)
    return np.clip(thickness / 2 + 0.5 - distance, 0, 1)


def _halves(side: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Two greys on the two sides of a line."""
    rows, columns = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    angle, (dark, light) = rng.uniform(0, np.pi), rng.random(2)
    place = rng.uniform(-side / 3, side / 3)
    beyond = np.cos(angle) * (rows - side / 2) + np.sin(angle) * (columns - side / 2) > place
    return np.where(beyond, light, dark)
