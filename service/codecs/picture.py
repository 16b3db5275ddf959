"""PNG and JPEG to float32 images in [0, 1] and back.

Images are (C, H, W). Grey pictures have one channel, colour ones three; transparency is laid on black.
"""

import io
import math
import struct
import warnings

import numpy as np
from PIL import Image

from service.errors import BadRequest, Invalid, TooLarge

FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG"}
_PNG_SIZE = struct.Struct(">8x4x4sII")
_SMALL_BYTES, _SMALL_PIXELS = 8192, 128 * 128


def is_small(blob: bytes) -> bool:
    """Whether it is a PNG that is unpacked in a moment, as its first bytes tell."""
    if len(blob) > _SMALL_BYTES or not blob.startswith(b"\x89PNG") or len(blob) < _PNG_SIZE.size:
        return False
    _, width, height = _PNG_SIZE.unpack_from(blob)
    return width * height <= _SMALL_PIXELS


def decode(blob: bytes, channels: int, max_pixels: int, field: str = "image") -> np.ndarray:
    """Read a picture as (channels, H, W) float32 in [0, 1].

    Raises BadRequest where it cannot be read, TooLarge where it has too many pixels (known from its header, before it
    is unpacked), Invalid where the model's number of channels cannot be made of it.
    """
    picture = _open(blob, max_pixels, field)
    if picture.mode in ("I;16", "I;16B", "I", "F"):
        grey = np.asarray(picture, np.float32) / 65535.0
        return np.repeat(grey[None], channels, axis=0)
    mode = {1: "L", 3: "RGB"}.get(channels)
    if mode is None:
        raise Invalid(f"{field}: the model takes {channels} channels: send application/x-npy instead", field=field)
    if picture.mode not in ("L", "RGB"):
        picture = picture.convert("RGBA")
        black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
        picture = Image.alpha_composite(black, picture).convert("RGB")
    pixels = np.asarray(picture.convert(mode), np.float32) / 255.0  # (H, W) or (H, W, C)
    return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def encode(image: np.ndarray) -> bytes:
    """Write one (C, H, W) image in [0, 1] as PNG, rounded to 8 bits."""
    levels = np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)
    pixels = levels[0] if levels.shape[0] == 1 else levels.transpose(1, 2, 0)
    stream = io.BytesIO()
    # Level 1 is five times as fast as the default, for files a few per cent larger.
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def grid(images: np.ndarray, gap: int = 2) -> np.ndarray:
    """Lay (N, C, H, W) images out in rows, as square as can be. Returns (C, H', W')."""
    count, channels, height, width = images.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = np.zeros((channels, rows * (height + gap) - gap, columns * (width + gap) - gap), np.float32)
    for i, image in enumerate(images):
        top, left = (i // columns) * (height + gap), (i % columns) * (width + gap)
        sheet[:, top : top + height, left : left + width] = image
    return sheet


def decode_mask(blob: bytes, max_pixels: int, field: str = "mask") -> np.ndarray:
    """Where a picture says that something is to be drawn: (H, W) bool.

    Of one with transparency, where it is more transparent than not; of any other, where it is more white than black.
    Raises as decode does.
    """
    picture = _open(blob, max_pixels, field)
    alpha = _alpha(picture)
    if alpha is not None:
        return alpha < 128
    if picture.mode in ("I;16", "I;16B", "I", "F"):
        return np.asarray(picture, np.float32) > 32767.0
    return np.asarray(picture.convert("L")) > 127


def decode_transparency(blob: bytes, max_pixels: int, field: str = "image") -> np.ndarray | None:
    """Where a picture is more transparent than not: (H, W) bool; None for one that knows no transparency."""
    alpha = _alpha(_open(blob, max_pixels, field))
    return None if alpha is None else alpha < 128


def _alpha(picture: Image.Image) -> np.ndarray | None:
    """Opacity (H, W) uint8."""
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return None
    return np.asarray(picture.convert("RGBA").getchannel("A"))


def _open(blob: bytes, max_pixels: int, field: str) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture: Image.Image = Image.open(io.BytesIO(blob), formats=tuple(FORMATS.values()))
            width, height = picture.size
            if width * height > max_pixels:
                raise TooLarge(
                    f"{field}: the picture has {width} × {height} pixels, the limit is {max_pixels}: make it smaller",
                    field=field,
                )
            picture.load()
    except TooLarge:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooLarge(f"{field}: the picture has too many pixels; the limit is {max_pixels}", field=field) from error
    except Exception as error:  # Pillow raises OSError, ValueError, SyntaxError, struct.error … for broken files
        raise BadRequest(f"{field}: expected a whole PNG or JPEG picture, found {_kind(blob)}", field=field) from error
    return picture


def _kind(blob: bytes) -> str:
    return f"{len(blob)} bytes that begin with {blob[:8]!r}" if blob else "nothing"
