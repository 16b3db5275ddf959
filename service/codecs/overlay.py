"""A picture with its surprise laid over it in red."""

import numpy as np

RED = np.array([1.0, 0.1, 0.0], np.float32)[:, None, None]


def lay(image: np.ndarray, surprise: np.ndarray, usual: float | None) -> np.ndarray:
    """Colour an image (C, H, W) in [0, 1] by the surprise of its values (C, H, W). Returns (3, H, W).

    What normal data exceed once in a thousand times, `usual`, is a quarter red, and what is four times as large all red. Where
    that is not known, the image's own largest value is all red.
    """
    of_pixel = np.maximum(surprise, 0.0).sum(axis=0)  # (H, W)
    full = 4 * usual if usual is not None else max(float(of_pixel.max()), 1e-12)
    share = np.minimum(1.0, of_pixel / full)
    grey = np.broadcast_to(image if len(image) == 3 else image.mean(axis=0, keepdims=True), (3, *image.shape[1:]))
    return ((1 - share) * grey + share * RED).astype(np.float32)
