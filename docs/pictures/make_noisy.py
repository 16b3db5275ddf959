"""Draw a small grey scene and add Gaussian noise (sigma 25/255): the README's example for the denoiser.

python docs/pictures/make_noisy.py        # writes noisy.png beside this file
"""

from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 256


def scene(rng: np.random.Generator) -> np.ndarray:
    """Hills, a sky and three balls on a tiled floor; (SIDE, SIDE) in [0, 1]."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    image = 0.85 - 0.35 * y
    for depth, base in enumerate((0.35, 0.45, 0.52)):
        ridge = base + sum(
            rng.normal(0, 0.05 / k) * np.sin(2 * np.pi * (k * x[0] + rng.random())) for k in (1, 2, 4, 8, 16, 32)
        )
        image = np.where(y > ridge, 0.55 - 0.15 * depth + 0.1 * (y - ridge), image)
    floor = y > 0.62
    depth = 1 / np.maximum(y - 0.55, 0.02)
    tiles = (np.floor((x - 0.5) * depth * 2) + np.floor(depth * 2)) % 2
    image = np.where(floor, 0.35 + 0.35 * tiles * np.exp(-depth / 12), image)
    for cx, cy, r, tone in ((0.28, 0.68, 0.13, 0.9), (0.62, 0.76, 0.17, 0.6), (0.86, 0.66, 0.08, 0.35)):
        shadow = ((x - cx - 0.06) / (1.3 * r)) ** 2 + ((y - cy - r * 0.95) / (0.3 * r)) ** 2
        image = np.where(shadow < 1, image * (0.45 + 0.4 * np.clip(shadow, 0, 1)), image)
        u, v = (x - cx) / r, (y - cy) / r
        inside = u**2 + v**2 < 1
        w = np.sqrt(np.clip(1 - u**2 - v**2, 0, 1))
        light = np.clip(-0.5 * u - 0.6 * v + 0.62 * w, 0, 1)
        stripes = 0.85 + 0.15 * np.sign(np.sin(14 * v + 3 * u))
        image = np.where(inside, np.clip(tone * stripes * (0.15 + 0.8 * light) + light**24, 0, 1), image)
    return np.clip(image, 0, 1)


def main() -> None:
    rng = np.random.default_rng(7)
    noisy = scene(rng) + rng.normal(0, 25 / 255, (SIDE, SIDE))
    levels = np.rint(np.clip(noisy, 0, 1) * 255).astype(np.uint8)
    Image.fromarray(levels).save(Path(__file__).with_name("noisy.png"), optimize=True)


if __name__ == "__main__":
    main()
