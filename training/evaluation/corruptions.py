"""Twelve ways to spoil an image, for measuring how well scores tell that. None of them is used in training or selection.

x (N, 1, H, W) float32 in [0, 1] on a background of 0 -> the same shape, rounded to 256 grey levels. Every draw is `rng`'s,
and each image has its own.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage

Grey = NDArray[np.float32]
Corruption = Callable[[Grey, np.random.Generator], Grey]


def _noise(x: Grey, rng: np.random.Generator) -> Grey:
    """Gaussian noise of standard deviation 0.25."""
    return x + np.float32(0.25) * rng.standard_normal(x.shape, np.float32)


def _impulses(x: Grey, rng: np.random.Generator) -> Grey:
    """A tenth of the pixels black or white."""
    drawn = rng.random(x.shape, np.float32)
    return np.where(drawn < 0.05, np.float32(0), np.where(drawn > 0.95, np.float32(1), x))


def _blur(x: Grey, rng: np.random.Generator) -> Grey:
    """A Gaussian blur of 1.5 pixels."""
    return ndimage.gaussian_filter(x, (0, 0, 1.5, 1.5), mode="constant")


def _motion(x: Grey, rng: np.random.Generator) -> Grey:
    """The mean of nine places, a pixel apart, along a line in any direction."""
    angle = rng.uniform(0, np.pi, len(x))
    shifted = [_warped(x, right=step * np.cos(angle), down=step * np.sin(angle)) for step in range(-4, 5)]
    return np.mean(shifted, axis=0, dtype=np.float32)


def _shear(x: Grey, rng: np.random.Generator) -> Grey:
    """Slanted by a slope of 0.5 to 0.8 to either side."""
    return _warped(x, shear=_either_side(rng, len(x), 0.5, 0.8))


def _turn(x: Grey, rng: np.random.Generator) -> Grey:
    """Turned by 30 to 60 degrees to either side."""
    return _warped(x, angle=np.radians(_either_side(rng, len(x), 30, 60)))


def _shrink(x: Grey, rng: np.random.Generator) -> Grey:
    """Scaled to 50 to 70% of its size."""
    return _warped(x, scale=rng.uniform(0.5, 0.7, len(x)))


def _shift(x: Grey, rng: np.random.Generator) -> Grey:
    """Moved by 3 to 6 pixels along each side."""
    return _warped(x, right=_either_side(rng, len(x), 3, 6).round(), down=_either_side(rng, len(x), 3, 6).round())


def _stripes(x: Grey, rng: np.random.Generator) -> Grey:
    """Two white bars of two pixels, across or along."""
    changed = x.copy()
    for image in changed[:, 0]:
        side = image if rng.random() < 0.5 else image.T
        for first in rng.choice(np.arange(2, len(side) - 4), 2, replace=False):
            side[first : first + 2] = 1
    return changed


def _spatter(x: Grey, rng: np.random.Generator) -> Grey:
    """Blots of ink over a twentieth of the image: where smooth noise is highest."""
    smooth = ndimage.gaussian_filter(rng.standard_normal(x.shape, np.float32), (0, 0, 1.2, 1.2))
    threshold = np.quantile(smooth, 0.95, axis=(2, 3), keepdims=True)
    return np.where(smooth > threshold, np.maximum(x, np.float32(0.9)), x)


def _inverted(x: Grey, rng: np.random.Generator) -> Grey:
    """Black on white."""
    return 1 - x


def _faint(x: Grey, rng: np.random.Generator) -> Grey:
    """A contrast of 30 to 60% on a grey of 0.1 to 0.3."""
    contrast, grey = rng.uniform(0.3, 0.6, (2, len(x), 1, 1, 1)).astype(np.float32)
    return contrast * x + grey * 2 / 3 - np.float32(0.1)


CORRUPTIONS: dict[str, Corruption] = {
    "noise": _noise,
    "impulses": _impulses,
    "blur": _blur,
    "motion": _motion,
    "shear": _shear,
    "turn": _turn,
    "shrink": _shrink,
    "shift": _shift,
    "stripes": _stripes,
    "spatter": _spatter,
    "inverted": _inverted,
    "faint": _faint,
}


def corrupted(name: str, x: Grey, seed: int) -> Grey:
    """The images under one of CORRUPTIONS."""
    rng = np.random.default_rng([seed, *name.encode()])
    return to_grey_levels(CORRUPTIONS[name](x, rng))


def to_grey_levels(x: NDArray[np.floating]) -> Grey:
    return (np.clip(x, 0, 1) * 255).round().astype(np.float32) / np.float32(255)


def _either_side(rng: np.random.Generator, count: int, least: float, most: float) -> NDArray[np.float64]:
    return rng.uniform(least, most, count) * rng.choice([-1, 1], count)


def _warped(
    x: Grey,
    angle: float | NDArray[np.float64] = 0.0,
    scale: float | NDArray[np.float64] = 1.0,
    shear: float | NDArray[np.float64] = 0.0,
    right: float | NDArray[np.float64] = 0.0,
    down: float | NDArray[np.float64] = 0.0,
) -> Grey:
    """Turned, scaled and sheared around the middle, then moved by pixels; bilinear, 0 from outside."""
    cos, sin, inverse = np.cos(angle), np.sin(angle), 1 / np.asarray(scale)
    columns = [inverse * (cos - shear * sin), inverse * (sin + shear * cos), -2 * np.asarray(right) / x.shape[3]]
    rows = [-inverse * sin, inverse * cos, -2 * np.asarray(down) / x.shape[2]]
    matrix = np.stack([np.stack([np.broadcast_to(v, len(x)) for v in line], 1) for line in (columns, rows)], 1)
    grid = F.affine_grid(torch.from_numpy(matrix).float(), list(x.shape), align_corners=False)
    return F.grid_sample(torch.from_numpy(x), grid, align_corners=False).numpy()
