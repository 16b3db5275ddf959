"""Arrays of many layouts become one batch of the model's samples."""

import numpy as np
import pytest

from contract.manifest import Data
from service.errors import Invalid
from service.tasks.samples import as_images, check_range, check_sides, expected

GREY = Data(kind="image", dataset="toy", shape=(1, 8, 6), value_range=(0, 1))
COLOUR = Data(kind="image", dataset="toy", shape=(3, 8, 6))
FREE = Data(kind="image", dataset="toy", shape=(1, None, None))
ANY = Data(kind="vector", dataset="toy", shape=(3,))


def marked(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@pytest.mark.parametrize(
    ("data", "shape", "batch"),
    [
        (GREY, (8, 6), (1, 1, 8, 6)),
        (GREY, (1, 8, 6), (1, 1, 8, 6)),
        (GREY, (8, 6, 1), (1, 1, 8, 6)),
        (GREY, (5, 8, 6), (5, 1, 8, 6)),
        (GREY, (5, 1, 8, 6), (5, 1, 8, 6)),
        (GREY, (5, 8, 6, 1), (5, 1, 8, 6)),
        (COLOUR, (3, 8, 6), (1, 3, 8, 6)),
        (COLOUR, (8, 6, 3), (1, 3, 8, 6)),
        (COLOUR, (5, 8, 6, 3), (5, 3, 8, 6)),
        (COLOUR, (5, 3, 8, 6), (5, 3, 8, 6)),
        (FREE, (17, 4), (1, 1, 17, 4)),
        (FREE, (2, 17, 4), (2, 1, 17, 4)),
    ],
)
def test_layouts(data: Data, shape: tuple[int, ...], batch: tuple[int, ...]) -> None:
    found = as_images(marked(*shape), data, "image")
    assert found.shape == batch
    assert found.flags.c_contiguous
    assert np.array_equal(np.sort(found.ravel()), marked(*shape).ravel())


def test_channels_last_are_turned_and_not_reshaped() -> None:
    picture = marked(8, 6, 3)
    assert np.array_equal(as_images(picture, COLOUR, "image")[0, 2], picture[..., 2])


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        (GREY, (48,)),
        (GREY, ()),
        (GREY, (6, 8)),
        (GREY, (8, 7)),
        (GREY, (2, 3, 8, 6)),
        (GREY, (1, 1, 1, 8, 6)),
        (COLOUR, (8, 6)),
        (COLOUR, (4, 8, 6)),
        (GREY, (0, 8, 6)),
        (FREE, (0, 5)),
        (FREE, (5, 0)),
        (FREE, (0, 1, 4, 4)),
    ],
)
def test_other_shapes_are_refused_with_expected_and_found(data: Data, shape: tuple[int, ...]) -> None:
    with pytest.raises(Invalid, match="expected an image of") as caught:
        as_images(np.zeros(shape, np.float32), data, "image[2]")
    assert "found" in caught.value.detail
    assert expected(data) in caught.value.detail
    assert caught.value.field == "image[2]"


def test_shapes_are_told_to_people() -> None:
    assert expected(GREY) == "1 × 8 × 6"
    assert expected(FREE) == "1 × H × W"
    assert expected(ANY) == "3"


def test_check_sides_takes_any_number_of_images_but_none() -> None:
    check_sides(np.zeros((7, 1, 8, 6)), GREY, "image")
    with pytest.raises(Invalid):
        check_sides(np.zeros((0, 1, 8, 6)), GREY, "image")


@pytest.mark.parametrize("values", [[-0.001, 1.0], [0.0, 1.001], [0.0, 255.0]])
def test_values_outside_of_the_model_s_range_are_refused(values: list[float]) -> None:
    with pytest.raises(Invalid, match=r"expected values in \[0, 1\], found .*: rescale them"):
        check_range(np.array(values), GREY, "image")


def test_values_in_the_range_or_without_one_are_taken() -> None:
    check_range(np.array([0.0, 1.0]), GREY, "image")
    check_range(np.array([-100.0, 100.0]), COLOUR, "image")
