"""Edit: the hole is drawn anew, the rest stays to the bit, and the two agree."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from service.engine.job import Call, RowCall
from service.errors import Invalid
from service.model import LoadedModel
from service.samplers import diffusion
from service.tasks.edit import Ask, edit
from tests.service.tasks.drive import drive, on
from tests.toys.directories import DIFFUSION, INPAINTER, PIXELS
from tests.toys.graphs import GAUSSIAN_STD, class_means

IMAGE = (np.random.default_rng(0).integers(0, 256, (1, 1, 8, 8)) / 255).astype(np.float32)
HOLE = np.zeros((8, 8), bool)
HOLE[3:, 2:7] = True


def edited(model: LoadedModel, image: np.ndarray = IMAGE, hole: np.ndarray = HOLE, **wishes: Any) -> np.ndarray:
    jobs = edit(model, image, hole, Ask(**{"n": 1, "seed": 1, **wishes}))
    return np.concatenate([drive(job, on(model)) for job, _ in jobs])


@pytest.mark.parametrize(("name", "n"), [(DIFFUSION, 3), (PIXELS, 3), (INPAINTER, 1)])
class TestAll:
    def test_known_pixels_stay_as_they_were_sent(self, models: dict[str, LoadedModel], name: str, n: int) -> None:
        images = edited(models[name], n=n)
        assert images.shape == (n, 1, 8, 8)
        assert images.dtype == np.float32
        assert np.array_equal(images[:, :, ~HOLE], IMAGE[:, :, ~HOLE].repeat(n, axis=0))
        assert not np.array_equal(images[:, :, HOLE], IMAGE[:, :, HOLE].repeat(n, axis=0))
        assert images.min() >= 0
        assert images.max() <= 1

    def test_what_stood_in_the_hole_does_not_matter(self, models: dict[str, LoadedModel], name: str, n: int) -> None:
        other = np.where(HOLE, np.float32(1), IMAGE)
        assert np.array_equal(edited(models[name], n=n), edited(models[name], other, n=n))

    def test_a_mask_must_fit_and_leave_something_to_do(self, models: dict[str, LoadedModel], name: str, n: int) -> None:
        for hole, says in ((np.ones((8, 9), bool), "8 × 8 as the image, found 8 × 9"), (HOLE & False, "found none")):
            with pytest.raises(Invalid, match=says) as caught:
                edited(models[name], hole=hole, n=n)
            assert caught.value.field == "mask"

    def test_an_image_of_another_range_is_refused(self, models: dict[str, LoadedModel], name: str, n: int) -> None:
        with pytest.raises(Invalid, match="rescale") as caught:
            edited(models[name], 255 * IMAGE, n=n)
        assert caught.value.field == "image"


@pytest.mark.parametrize("name", [DIFFUSION, PIXELS])
def test_a_sample_depends_on_its_seed_and_index_alone(models: dict[str, LoadedModel], name: str) -> None:
    many = edited(models[name], n=5)
    assert np.array_equal(edited(models[name], n=2), many[:2])
    assert not np.array_equal(edited(models[name], seed=2), many[:1])
    assert len(np.unique(many.reshape(5, -1), axis=0)) == 5


class TestDiffusion:
    @pytest.fixture
    def model(self, models: dict[str, LoadedModel]) -> LoadedModel:
        return models[DIFFUSION]

    @pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2m", "ancestral"])
    def test_the_hole_is_of_the_model_s_distribution(self, model: LoadedModel, sampler: str) -> None:
        """Pixels are independent here: what is drawn is N(mean of the class, s²), whatever stands beside it. Solvers of
        the first order fall somewhat short of s in 20 steps."""
        hole = edited(model, n=100, label=4, guidance=1.0, sampler=sampler, steps=20)[:, 0, HOLE]
        assert np.abs(hole.mean(axis=0) - class_means(10, 8)[4][0, HOLE]).max() < 0.04
        assert (0.9 if sampler == "heun" else 0.7) < hole.std(axis=0).mean() / GAUSSIAN_STD < 1.1

    def test_without_a_wish_it_is_of_no_class(self, model: LoadedModel) -> None:
        labels: set[int] = set()

        def answer(call: Call) -> Any:
            assert isinstance(call, RowCall)
            labels.update(call.inputs["label"].tolist())
            return on(model)(call)

        ((job, _),) = edit(model, IMAGE, HOLE, Ask(1, 1, steps=2))
        drive(job, answer)
        assert labels == {10}

    def test_the_known_part_is_the_image_with_the_level_s_noise(self, model: LoadedModel) -> None:
        """At every evaluation, on the way down and after every jump back up."""
        spreads: list[tuple[float, float]] = []

        def answer(call: Call) -> Any:
            assert isinstance(call, RowCall)
            known = (call.inputs["x_t"] - IMAGE)[:, :, ~HOLE]
            spreads.append((float(call.inputs["sigma"][0]), float(known.std())))
            return on(model)(call)

        ((job, work),) = edit(model, IMAGE, HOLE, Ask(100, 1, sampler="ancestral", steps=6))
        drive(job, answer)
        for sigma, spread in spreads:
            assert spread == pytest.approx(sigma, rel=0.05)
        sigmas = diffusion.karras(6, (0.01, 20.0))
        jumping = sum(sigma <= diffusion.JUMPS_BELOW for sigma in sigmas[:-1])
        assert len(spreads) == 6 + diffusion.JUMPS * jumping
        assert work == 100 * len(spreads)

    def test_guidance_needs_a_class(self, model: LoadedModel) -> None:
        with pytest.raises(Invalid, match="needs a class") as caught:
            edited(model, guidance=2.0)
        assert caught.value.field == "guidance"
        assert not np.array_equal(edited(model, label=1, guidance=2.0), edited(model, label=1, guidance=1.0))

    def test_sides_that_the_graph_cannot_take_are_refused(self, model: LoadedModel) -> None:
        data = model.manifest.data.model_copy(update={"shape": (1, None, None), "side_multiple": 4})
        free = replace(model, manifest=model.manifest.model_copy(update={"data": data}))
        with pytest.raises(Invalid, match="multiples of 4, found 8 × 6"):
            edited(free, IMAGE[..., :6], HOLE[:, :6])


class TestPixels:
    def test_the_upper_half_is_gone_on_with(self, models: dict[str, LoadedModel]) -> None:
        lower = np.zeros((8, 8), bool)
        lower[4:] = True
        levels = np.rint(IMAGE * 3) / 3
        images = edited(models[PIXELS], levels.astype(np.float32), lower, n=2)
        assert set(np.rint(images[:, 0, 4:] * 3).astype(int).ravel()) <= {0, 1, 2, 3}
        assert np.array_equal(
            edited(models[PIXELS], levels.astype(np.float32), lower, temperature=0.0, seed=1),
            edited(models[PIXELS], levels.astype(np.float32), lower, temperature=0.0, seed=2),
        )


class TestReconstruct:
    def test_one_evaluation_of_the_image_with_the_fill_in_its_hole(self, models: dict[str, LoadedModel]) -> None:
        calls: list[RowCall] = []

        def answer(call: Call) -> Any:
            assert isinstance(call, RowCall)
            calls.append(call)
            return on(models[INPAINTER])(call)

        ((job, work),) = edit(models[INPAINTER], IMAGE, HOLE, Ask(1, 1))
        drive(job, answer)
        assert len(calls) == work == 1
        assert np.array_equal(calls[0].inputs["x"], np.where(HOLE, np.float32(0.5), IMAGE))

    def test_there_is_one_answer_only(self, models: dict[str, LoadedModel]) -> None:
        with pytest.raises(Invalid, match="in one way only: leave n out") as caught:
            edited(models[INPAINTER], n=2)
        assert caught.value.field == "n"


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        (DIFFUSION, "temperature", 1.0),
        (DIFFUSION, "steps", 21),
        (DIFFUSION, "sampler", "consistency"),
        (PIXELS, "steps", 4),
        (PIXELS, "guidance", 2.0),
        (PIXELS, "label", 1),
        (INPAINTER, "sampler", "euler"),
        (INPAINTER, "temperature", 1.0),
        (INPAINTER, "label", 1),
    ],
)
def test_what_a_model_has_no_use_for_is_refused(
    models: dict[str, LoadedModel], name: str, field: str, value: Any
) -> None:
    with pytest.raises(Invalid) as caught:
        edited(models[name], **{field: value})
    assert caught.value.field == field
    assert name in caught.value.detail
