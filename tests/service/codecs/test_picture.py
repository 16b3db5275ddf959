"""The picture codec: PNG and JPEG in, PNG out, and files that only look like pictures."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from service.codecs import picture
from service.errors import AmostraError, BadRequest, Invalid, TooLarge

LIMIT = 64 * 64


def file(pixels: np.ndarray, kind: str = "PNG", mode: str | None = None, **options: object) -> bytes:
    image = Image.fromarray(pixels)
    stream = io.BytesIO()
    (image.convert(mode) if mode else image).save(stream, kind, **options)
    return stream.getvalue()


def noisy(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_png_round_trip_is_exact_to_eight_bits(channels: int) -> None:
    levels = noisy(channels, 9, 13).astype(np.float32) / 255
    assert np.array_equal(picture.decode(picture.encode(levels), channels, LIMIT), levels)


def test_encode_rounds_to_the_nearest_level_and_clips() -> None:
    image = np.array([[[-1.0, 0.0, 0.4999 / 255, 0.5001 / 255, 1.0, 7.0]]], np.float32)
    levels = np.asarray(Image.open(io.BytesIO(picture.encode(image))))
    assert levels.tolist() == [[0, 0, 0, 1, 255, 255]]


def test_jpeg_is_read_within_its_own_loss() -> None:
    smooth = np.linspace(0, 255, 32).astype(np.uint8)[None].repeat(32, 0)
    decoded = picture.decode(file(smooth, "JPEG", quality=95), 1, LIMIT)
    assert decoded.shape == (1, 32, 32)
    assert np.abs(decoded[0] - smooth / 255).max() < 0.03


def test_sixteen_bits_keep_their_precision() -> None:
    levels = np.arange(0, 2**16, 257, dtype=np.uint16)[:256].reshape(16, 16)
    decoded = picture.decode(file(levels), 1, LIMIT)
    assert np.allclose(decoded[0], levels / 65535, atol=1e-7)
    assert len(np.unique(decoded)) == 256


def test_sixteen_bits_are_grey_in_all_channels() -> None:
    decoded = picture.decode(file(np.full((4, 4), 65535, np.uint16)), 3, LIMIT)
    assert decoded.shape == (3, 4, 4)
    assert (decoded == 1).all()


def test_colour_becomes_grey_by_luminance() -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    grey = picture.decode(file(colours), 1, LIMIT)
    assert grey.shape == (1, 1, 4)
    assert np.allclose(grey[0, 0], [0.299, 0.587, 0.114, 1.0], atol=0.005)


def test_grey_becomes_colour_of_equal_channels() -> None:
    decoded = picture.decode(file(noisy(5, 6)), 3, LIMIT)
    assert decoded.shape == (3, 5, 6)
    assert np.array_equal(decoded[0], decoded[2])


def test_colour_channels_keep_their_order() -> None:
    red = np.zeros((2, 3, 3), np.uint8)
    red[..., 0] = 255
    decoded = picture.decode(file(red), 3, LIMIT)
    assert decoded[0].min() == 1
    assert decoded[1:].max() == 0


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGBA", "L", "RGB"])
def test_every_png_mode_is_read(mode: str) -> None:
    white = np.full((4, 5, 3), 255, np.uint8)
    for channels in (1, 3):
        decoded = picture.decode(file(white, mode=mode), channels, LIMIT)
        assert decoded.shape == (channels, 4, 5)
        assert decoded.min() > 0.99


def test_a_jpeg_for_printers_is_read() -> None:
    decoded = picture.decode(file(np.full((8, 8, 3), 255, np.uint8), "JPEG", mode="CMYK"), 1, LIMIT)
    assert decoded.min() > 0.95


def test_transparency_is_laid_on_black() -> None:
    clear = np.full((2, 2, 4), 255, np.uint8)
    clear[0, 0, 3] = 0
    decoded = picture.decode(file(clear), 1, LIMIT)
    assert decoded[0, 0, 0] == 0
    assert decoded[0, 1, 1] == 1


def test_more_channels_than_a_picture_has_are_refused() -> None:
    with pytest.raises(Invalid, match="send application/x-npy"):
        picture.decode(file(noisy(4, 4)), 5, LIMIT)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_that_says(width: int, height: int) -> bytes:
    """A small file whose header promises many pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def gif() -> bytes:
    return file(noisy(4, 4), "GIF")


HOSTILE = {
    "nothing": (b"", BadRequest),
    "text": (b"<html>hello</html>", BadRequest),
    "another format": (gif(), BadRequest),
    "PNG cut off": (file(noisy(32, 32))[:-100], BadRequest),
    "PNG header only": (file(noisy(32, 32))[:40], BadRequest),
    "JPEG cut off": (file(noisy(32, 32), "JPEG")[:200], BadRequest),
    "PNG of broken data": (file(noisy(32, 32)).replace(b"IDAT", b"IDAX"), BadRequest),
    "one pixel too many": (file(noisy(64, 65)), TooLarge),
    "bomb": (png_that_says(60_000, 60_000), TooLarge),
    "larger bomb": (png_that_says(2**31 - 1, 2**31 - 1), TooLarge),
    "no pixels": (png_that_says(0, 10), BadRequest),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused_by_name(case: str) -> None:
    blob, refusal = HOSTILE[case]
    with pytest.raises(AmostraError) as caught:
        picture.decode(blob, 1, LIMIT, "image[3]")
    assert type(caught.value) is refusal
    assert caught.value.field == "image[3]"
    assert caught.value.detail.startswith("image[3]: ")


def test_the_largest_picture_that_is_allowed_is_read() -> None:
    assert picture.decode(file(noisy(64, 64)), 1, LIMIT).shape == (1, 64, 64)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9, 16, 17])
def test_a_grid_holds_every_image_once(count: int) -> None:
    images = np.stack([np.full((1, 3, 4), (i + 1) / count, np.float32) for i in range(count)])
    sheet = picture.grid(images, gap=2)
    values, sizes = np.unique(sheet[sheet > 0], return_counts=True)
    assert np.array_equal(values, np.unique(images))
    assert (sizes == 12).all()
    rows, columns = (sheet.shape[1] + 2) // 5, (sheet.shape[2] + 2) // 6
    assert columns - 1 <= rows <= columns, "as square as can be"
    assert sheet[0, 0, 0] == images[0, 0, 0, 0]


class TestMasks:
    """Where a picture says that something is to be drawn."""

    HOLE = np.random.default_rng(0).random((6, 9)) < 0.4

    def with_alpha(self, mode: str) -> bytes:
        """Opaque outside of the hole, of any colour."""
        pixels = np.dstack([noisy(6, 9, 3), np.where(self.HOLE, 0, 255).astype(np.uint8)])
        return file(pixels, mode=mode)

    @pytest.mark.parametrize("mode", ["RGBA", "LA"])
    def test_transparent_pixels_are(self, mode: str) -> None:
        assert np.array_equal(picture.decode_mask(self.with_alpha(mode), LIMIT), self.HOLE)
        assert np.array_equal(picture.decode_transparency(self.with_alpha(mode), LIMIT), self.HOLE)

    def test_a_colour_of_a_palette_may_be_transparent(self) -> None:
        image = Image.fromarray(np.where(self.HOLE, 1, 2).astype(np.uint8), "P")
        image.putpalette([0, 0, 0, 255, 255, 255, 200, 200, 200])
        stream = io.BytesIO()
        image.save(stream, "PNG", transparency=1)
        assert np.array_equal(picture.decode_mask(stream.getvalue(), LIMIT), self.HOLE)

    @pytest.mark.parametrize("kind", ["PNG", "JPEG"])
    @pytest.mark.parametrize("mode", ["L", "RGB"])
    def test_without_transparency_white_ones_are(self, kind: str, mode: str) -> None:
        large = np.kron(self.HOLE, np.ones((8, 8), bool))
        blob = file(np.where(large, 255, 0).astype(np.uint8), kind, mode)
        assert np.array_equal(picture.decode_mask(blob, 48 * 72), large)
        assert picture.decode_transparency(blob, 48 * 72) is None

    def test_sixteen_bits_and_one_bit(self) -> None:
        assert np.array_equal(picture.decode_mask(file(self.HOLE.astype(np.uint16) * 65535), LIMIT), self.HOLE)
        assert np.array_equal(picture.decode_mask(file(self.HOLE), LIMIT), self.HOLE)

    def test_more_than_half_decides(self) -> None:
        levels = np.array([[0, 127, 128, 255]], np.uint8)
        assert picture.decode_mask(file(levels), LIMIT).tolist() == [[False, False, True, True]]
        alpha = np.dstack([np.zeros((1, 4, 3), np.uint8), levels])
        assert picture.decode_mask(file(alpha), LIMIT).tolist() == [[True, True, False, False]]

    def test_what_is_no_picture_or_too_large_is_refused(self) -> None:
        with pytest.raises(BadRequest, match="mask"):
            picture.decode_mask(b"hello", LIMIT)
        with pytest.raises(TooLarge, match="mask"):
            picture.decode_mask(file(noisy(65, 64)), LIMIT)


def test_what_is_small_is_known_before_it_is_unpacked() -> None:
    assert picture.is_small(file(noisy(28, 28)))
    assert not picture.is_small(file(noisy(120, 120))), "many bytes"
    assert not picture.is_small(file(np.zeros((2000, 2000), np.uint8))), "few bytes, many pixels"
    assert not picture.is_small(file(noisy(8, 8), "JPEG"))
    assert not picture.is_small(b"\x89PNG")
