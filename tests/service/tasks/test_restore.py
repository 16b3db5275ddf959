"""Restore: what comes in is what the manifest says, what comes out is a whole image."""

from dataclasses import replace

import numpy as np
import pytest

from service.engine.job import Call, RowCall
from service.errors import Invalid, ModelFailed
from service.model import LoadedModel
from service.tasks.restore import check_sigma, degraded, restore
from tests.service.tasks.drive import drive, on
from tests.toys.directories import COLOURIST, DENOISER, INPAINTER, RESTORER


def given(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape).astype(np.float32)


@pytest.mark.parametrize("size", [(4, 4), (5, 7), (1, 1), (33, 2)])
def test_a_smaller_image_becomes_a_larger_one(models: dict[str, LoadedModel], size: tuple[int, int]) -> None:
    images = given(2, 1, *size)
    whole = drive(restore(models[RESTORER], images), on(models[RESTORER]))
    assert np.array_equal(whole, images.repeat(2, axis=2).repeat(2, axis=3))


@pytest.mark.parametrize("size", [(700, 30), (609, 1217)])
def test_a_large_image_is_restored_in_tiles_without_a_seam(
    models: dict[str, LoadedModel], size: tuple[int, int]
) -> None:
    images, shapes = given(1, 1, *size), set()

    def answer(call: Call) -> dict[str, np.ndarray]:
        assert isinstance(call, RowCall)
        x = call.inputs["x"]
        shapes.add(x.shape)
        whole = x.repeat(2, axis=2).repeat(2, axis=3)
        spoiled = np.zeros_like(whole)
        # What lies within 40 pixels of a cut is spoiled; at a side of the image it is not.
        spoiled[:, :, 80:-80] = whole[:, :, 80:-80]
        if x.shape[3] == size[1]:
            spoiled[:, :, 80:-80, :] = whole[:, :, 80:-80, :]
        else:
            spoiled[:, :, :, :80] = spoiled[:, :, :, -80:] = 0
        return {"x_hat": spoiled}

    found = drive(restore(models[RESTORER], images), answer)
    wanted = images.repeat(2, axis=2).repeat(2, axis=3)
    inside = np.s_[:, :, 80:-80, 80:-80] if size[1] > 608 else np.s_[:, :, 80:-80]
    assert found.shape == wanted.shape
    assert np.array_equal(found[inside], wanted[inside])
    assert len(shapes) == 1
    assert max(max(shape) for shape in shapes) <= 608


@pytest.mark.parametrize("multiple", [1, 2, 3, 8])
def test_sides_of_the_whole_image_are_multiples_of_the_model_s(models: dict[str, LoadedModel], multiple: int) -> None:
    model = models[RESTORER]
    data = model.manifest.data.model_copy(update={"side_multiple": multiple})
    model = replace(model, manifest=model.manifest.model_copy(update={"data": data}))
    seen: list[tuple[int, ...]] = []

    def answer(call: Call) -> dict[str, np.ndarray]:
        assert isinstance(call, RowCall)
        seen.append(call.inputs["x"].shape)
        return {"x_hat": call.inputs["x"].repeat(2, axis=2).repeat(2, axis=3)}

    whole = drive(restore(model, given(1, 1, 5, 7)), answer)
    assert whole.shape == (1, 1, 10, 14)
    assert all(2 * side % multiple == 0 for side in seen[0][2:])


def test_a_grey_image_becomes_coloured(models: dict[str, LoadedModel]) -> None:
    assert degraded(models[COLOURIST]).shape == (1, 8, 8)
    grey = given(3, 1, 8, 8)
    whole = drive(restore(models[COLOURIST], grey), on(models[COLOURIST]))
    assert np.allclose(whole, np.concatenate([grey, grey / 2, 0 * grey], axis=1), atol=1e-6)


def test_an_image_with_holes_is_taken_as_it_is(models: dict[str, LoadedModel]) -> None:
    model = models[INPAINTER]
    assert degraded(model).shape == (1, 8, 8)
    image = np.full((1, 1, 8, 8), 0.5, np.float32)
    assert drive(restore(model, image), on(model))[0, 0, 4, 4] == pytest.approx(0.5)


def test_a_model_of_no_degradation_gives_the_image_again(models: dict[str, LoadedModel]) -> None:
    model = models[INPAINTER]
    plain = replace(model, manifest=model.manifest.model_copy(update={"restoration": None}))
    assert plain.serving("restore") is not None
    assert plain.serving("edit") is None
    images = given(2, 1, 8, 8)
    assert np.array_equal(drive(restore(plain, images), on(plain)), drive(restore(model, images), on(model)))


def test_a_noise_level_goes_where_one_is_taken(models: dict[str, LoadedModel]) -> None:
    images = given(1, 1, 6, 6)
    known, unknown = (drive(restore(models[DENOISER], images, s), on(models[DENOISER])) for s in (0.05, None))
    assert not np.array_equal(known, unknown)
    check_sigma(models[RESTORER], None)
    for name, sigma in ((RESTORER, 0.1), (DENOISER, 0.9)):
        with pytest.raises(Invalid) as caught:
            check_sigma(models[name], sigma)
        assert caught.value.field == "sigma"


def test_pixels_that_are_no_numbers_are_not_sent(models: dict[str, LoadedModel]) -> None:
    with pytest.raises(ModelFailed, match="no numbers"):
        drive(restore(models[INPAINTER], given(1, 1, 8, 8)), lambda call: {"x_hat": np.full((1, 1, 8, 8), np.nan)})
