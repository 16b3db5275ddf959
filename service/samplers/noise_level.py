"""How noisy an image is, from the image alone.

The finest diagonal Haar coefficients d = (a - b - c + e) / 2 of neighbouring 2 × 2 pixels hold next to nothing of an image
but all of the noise, with its standard deviation. The median of |d| ignores edges as long as less than half of the image has
any (Donoho and Johnstone 1994, "Ideal spatial adaptation by wavelet shrinkage", section 4.1.2).

Files hold no values outside of [0, 1]: noise on black or white is cut in half there, and its median is 0.358 sigma in place of
0.674 sigma. The divisor is moved between the two by the share of pixels that stand at a limit and beside others, which tells
cut noise from flat black. Where half of an image is exactly flat there is no noise in it: 0.
"""

import numpy as np

_MEDIAN = 0.6745
"""Of |d| for noise of sigma 1."""
_MEDIAN_CUT = 0.3580
"""Of |d| for max(0, noise): half of the pixels stand at the limit."""


def estimate_sigma(images: np.ndarray) -> np.ndarray:
    """The noise level of each image, over all of its channels. images (N, C, H, W) -> (N,) float64; 0 for sides of 1."""
    return np.array([_estimate(image.astype(np.float64)) for image in images])


def _estimate(image: np.ndarray) -> float:
    corners = np.stack([image[:, :-1, :-1], image[:, :-1, 1:], image[:, 1:, :-1], image[:, 1:, 1:]])  # (4, C, H-1, W-1)
    flat = (corners == corners[0]).all(axis=0)
    if flat.mean() >= 0.5 if flat.size else True:
        return 0.0
    a, b, c, e = corners[:, ~flat]  # (blocks,)
    at_limit = np.isin(corners[:, ~flat], (0.0, 1.0)).mean()
    divisor = _MEDIAN + (_MEDIAN_CUT - _MEDIAN) * min(1.0, 2 * at_limit)
    return float(np.median(np.abs(a - b - c + e)) / 2 / divisor)
