"""The bits that the graph counts are those of a code from which the image can be read again."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from training.layers.codec_bits import HEADER_BITS, PARAMETERS, CodecBits

BLANK = PARAMETERS  # the header of a row without errors


def predicted(levels: NDArray[np.int64], row: int, column: int) -> tuple[int, bool]:
    """From what is read before; the prediction, and whether the ground is flat."""

    def at(r: int, c: int) -> int:
        return int(levels[r, c]) if r >= 0 and c >= 0 else 0

    west, north, corner = at(row, column - 1), at(row - 1, column), at(row - 1, column - 1)
    return sorted([west, north, west + north - corner])[1], west == north == corner


def encoded(levels: NDArray[np.int64]) -> str:
    """Plainly, pixel by pixel: a row's header, then its codes by the best k."""

    def row_code(row: int, k: int) -> str:
        code = format(k, f"0{HEADER_BITS}b")
        for column in range(levels.shape[1]):
            prediction, flat = predicted(levels, row, column)
            error = (int(levels[row, column]) - prediction + 128) % 256 - 128
            folded = 2 * error if error >= 0 else -2 * error - 1
            if k == BLANK:
                if folded:
                    return ""
                continue
            if flat:
                code += "1" if folded else "0"
            if not flat or folded:
                code += "1" * (folded >> k) + "0" + (format(folded % 2**k, f"0{k}b") if k else "")
        return code

    rows = [[row_code(row, k) for k in range(PARAMETERS + 1)] for row in range(len(levels))]
    return "".join(min((code for code in codes if code), key=len) for codes in rows)


def decoded(bits: str, height: int, width: int) -> NDArray[np.int64]:
    levels, place = np.zeros((height, width), np.int64), 0

    def read(count: int) -> int:
        nonlocal place
        place += count
        return int(bits[place - count : place] or "0", 2)

    for row in range(height):
        k = read(HEADER_BITS)
        for column in range(width):
            prediction, flat = predicted(levels, row, column)
            folded = 0
            if k != BLANK and (not flat or read(1)):
                while read(1):
                    folded += 2**k
                folded += read(k)
            error = folded // 2 if folded % 2 == 0 else -(folded + 1) // 2
            levels[row, column] = (prediction + error) % 256
    assert place == len(bits)
    return levels


def some_images() -> dict[str, NDArray[np.int64]]:
    rng = np.random.default_rng(0)
    ramp = np.arange(12)[:, None] * 9 + np.arange(10) * 11
    inked = np.zeros((12, 10), np.int64)
    inked[3:7, 2:8] = rng.integers(0, 256, (4, 6))
    return {
        "black": np.zeros((12, 10), np.int64),
        "grey": np.full((12, 10), 77),
        "ramp": ramp,
        "ink": inked,
        "two levels": 255 * rng.integers(0, 2, (12, 10)),
        "noise": rng.integers(0, 256, (12, 10)),
    }


@pytest.mark.parametrize("name", list(some_images()))
def test_the_bits_are_those_of_a_code_that_can_be_read_again(name):
    levels = some_images()[name]
    code = encoded(levels)
    np.testing.assert_array_equal(decoded(code, *levels.shape), levels)
    counted = CodecBits()(torch.from_numpy(levels).float()[None, None])
    assert counted.tolist() == [len(code)]


def test_the_simpler_image_takes_fewer_bits():
    images = torch.stack([torch.from_numpy(levels).float()[None] for levels in some_images().values()])
    black, grey, ramp, ink, _, noise = CodecBits()(images).tolist()
    assert black == 12 * HEADER_BITS
    assert black < grey < ink < noise
    assert ramp < noise


def test_channels_add_up():
    images = torch.randint(0, 256, (3, 2, 9, 9), generator=torch.Generator().manual_seed(0)).float()
    bits = CodecBits()
    torch.testing.assert_close(bits(images), bits(images[:, :1]) + bits(images[:, 1:]), rtol=0, atol=0)
