"""Latents between latents: the great circle through two draws of unit noise.

A normal vector of many dimensions has next to no chance to be shorter than its fellows, so a decoder has never seen the
straight line between two of them; the arc between them keeps the length (Shoemake 1985, "Animating rotation with quaternion
curves").
"""

from collections.abc import Sequence

import numpy as np

from service.samplers import noise


def slerp(a: np.ndarray, b: np.ndarray, t: float) -> np.ndarray:
    """sin((1 - t) w) / sin(w) a + sin(t w) / sin(w) b, with w the angle between a and b. t in [0, 1]; exactly a at 0.

    a and b of one shape, float32; a straight line where they have one direction.
    """
    if t == 0:
        return a
    p, q = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    cosine = (p @ q) / (np.linalg.norm(p) * np.linalg.norm(q))
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))
    if np.sin(angle) < 1e-6:
        weights = 1 - t, t
    else:
        weights = np.sin((1 - t) * angle) / np.sin(angle), np.sin(t * angle) / np.sin(angle)
    return (weights[0] * p + weights[1] * q).astype(np.float32).reshape(a.shape)


def path(seeds: Sequence[int], n: int, shape: tuple[int, ...], step: int = 0) -> np.ndarray:
    """The noise of n samples, evenly along the arcs from each seed's sample 0 to the next one's. Returns (n, *shape).

    The first and the last are the noise of the first and of the last seed, exactly.
    """
    knots = [noise.normal(seed, 1, shape, step)[0] for seed in seeds]
    rows = np.empty((n, *shape), np.float32)
    for i in range(n):
        arc, rest = divmod(i * (len(seeds) - 1), max(1, n - 1))
        rows[i] = slerp(knots[arc], knots[min(arc + 1, len(knots) - 1)], rest / max(1, n - 1))
    return rows
