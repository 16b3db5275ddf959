"""Picture files and arrays. Needs Pillow: the extra `cli`."""

import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

_GAP = 2


def decode(blob: bytes) -> NDArray[np.float32]:
    """A grey or colour picture as (C, H, W) in [0, 1]."""
    picture = _pillow().open(io.BytesIO(blob))
    levels: NDArray[np.float32] = np.asarray(
        picture if picture.mode in ("L", "RGB") else picture.convert("RGB"), np.float32
    )
    pixels = levels[None] if levels.ndim == 2 else levels.transpose(2, 0, 1)
    return pixels / np.float32(255)


def picture(image: NDArray[Any]) -> "Image.Image":
    """An image (C, H, W) in [0, 1] as a picture of 256 levels."""
    levels = np.rint(np.clip(image, 0.0, 1.0) * 255).astype(np.uint8)
    pixels = levels[0] if len(levels) == 1 else levels.transpose(1, 2, 0)
    made: Image.Image = _pillow().fromarray(np.ascontiguousarray(pixels))
    return made


def grid(images: NDArray[Any]) -> NDArray[Any]:
    """Images (N, C, H, W) in rows, as square as can be: (C, H', W'). One alone stays as it is."""
    count, channels, height, width = images.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = np.zeros((channels, rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP), images.dtype)
    for i, image in enumerate(images):
        top, left = (i // columns) * (height + _GAP), (i % columns) * (width + _GAP)
        sheet[:, top : top + height, left : left + width] = image
    return sheet


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("pictures need Pillow: pip install pillow") from error
    return Image
