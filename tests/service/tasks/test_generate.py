"""Generate: who is drawn, from which noise, in how many evaluations, and what is refused."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from contract import Capability
from service.engine.job import Call, RowCall
from service.errors import Invalid, ModelFailed
from service.model import LoadedModel
from service.samplers import diffusion, latents, noise
from service.tasks.generate import Ask, Drawing, draw, plan, resolve_label
from tests.service.tasks.drive import drive, on
from tests.toys.directories import DIFFUSION, GENERATOR, PIXELS, TABLE
from tests.toys.graphs import class_means

SIDES = (1, 8, 8)


@pytest.fixture
def model(models: dict[str, LoadedModel]) -> LoadedModel:
    return models[GENERATOR]


@pytest.fixture
def diffuser(models: dict[str, LoadedModel]) -> LoadedModel:
    return models[DIFFUSION]


def images_of(model: LoadedModel, n: int = 1, seed: int = 1, **wishes: Any) -> np.ndarray:
    jobs = draw(model, plan(model, Ask(n, seed, **wishes)))
    return np.concatenate([drive(job, on(model)) for job, _ in jobs])


def evaluate(model: LoadedModel, calls: list[RowCall]) -> Any:
    """Answers as `on` does, and keeps the calls."""
    answer = on(model)

    def kept(call: Call) -> Any:
        assert isinstance(call, RowCall)
        calls.append(call)
        return answer(call)

    return kept


@pytest.mark.parametrize("name", [GENERATOR, DIFFUSION, PIXELS])
def test_images_are_of_the_model_s_shape_in_range(models: dict[str, LoadedModel], name: str) -> None:
    images = images_of(models[name], 5)
    assert images.shape == (5, *SIDES)
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert images.max() <= 1
    assert len(np.unique(images.reshape(5, -1), axis=0)) == 5


@pytest.mark.parametrize("wishes", [{}, {"sampler": "ancestral"}, {"sampler": "heun", "steps": 3, "guidance": 3.0}])
@pytest.mark.parametrize("name", [GENERATOR, DIFFUSION])
def test_a_sample_depends_on_its_seed_index_and_label_alone(
    models: dict[str, LoadedModel], name: str, wishes: dict[str, Any]
) -> None:
    wishes = wishes if name == DIFFUSION else {}

    def images(n: int, seed: int, label: int) -> np.ndarray:
        return images_of(models[name], n, seed, label=label, **wishes)

    many = images(16, seed=3, label=7)
    assert np.array_equal(images(4, seed=3, label=7), many[:4])
    assert not np.array_equal(images(1, seed=4, label=7), many[:1])
    assert not np.array_equal(images(1, seed=3, label=8), many[:1])


@pytest.mark.parametrize("name", [GENERATOR, DIFFUSION])
def test_the_classes_take_turns_where_none_is_wished_for(models: dict[str, LoadedModel], name: str) -> None:
    labels = plan(models[name], Ask(23, 0)).labels
    assert labels is not None
    assert labels.tolist() == [i % 10 for i in range(23)]


class TestLatents:
    @pytest.mark.parametrize(("name", "size"), [(GENERATOR, 4), (DIFFUSION, 64)])
    def test_given_ones_replace_the_noise(self, models: dict[str, LoadedModel], name: str, size: int) -> None:
        given = np.random.default_rng(0).normal(size=(3, size)).round(3).tolist()
        a = images_of(models[name], 3, 1, label=2, latents=given)
        assert np.array_equal(a, images_of(models[name], 3, 99, label=2, latents=given))
        moved = images_of(models[name], 3, 1, label=2, latents=given[::-1])
        assert np.array_equal(moved, a[::-1])

    @pytest.mark.parametrize(("name", "shape"), [(GENERATOR, (4,)), (DIFFUSION, SIDES)])
    @pytest.mark.parametrize("sampler", [None, "ancestral"])
    def test_the_drawn_ones_can_be_given(
        self, models: dict[str, LoadedModel], name: str, shape: tuple[int, ...], sampler: str | None
    ) -> None:
        wishes: dict[str, Any] = {"sampler": sampler} if name == DIFFUSION else {}
        drawn = noise.normal(5, 2, shape).reshape(2, -1).astype(float).tolist()
        assert np.array_equal(
            images_of(models[name], 2, 5, latents=drawn, **wishes), images_of(models[name], 2, 5, **wishes)
        )

    @pytest.mark.parametrize(
        "given",
        [[[0.0] * 4], [[0.0] * 3] * 2, [[], []], [], [[0.0] * 4] * 3],
        ids=["few", "short", "empty", "no", "many"],
    )
    def test_others_shapes_are_refused(self, models: dict[str, LoadedModel], given: list) -> None:
        for name, size in ((GENERATOR, 4), (DIFFUSION, 64)):
            with pytest.raises(Invalid, match=f"expected 2 × {size} numbers") as caught:
                plan(models[name], Ask(2, 0, latents=given))
            assert caught.value.field == "latents"

    def test_those_too_large_for_the_graph_are_refused(self, model: LoadedModel) -> None:
        with pytest.raises(Invalid) as caught:
            plan(model, Ask(1, 0, latents=[[1e300, 0, 0, 0]]))
        assert caught.value.field == "latents"


class TestSeeds:
    """From one seed's sample to another's."""

    @pytest.mark.parametrize("wishes", [{}, {"sampler": "ancestral"}, {"sampler": "heun", "guidance": 1.0}])
    @pytest.mark.parametrize("label", [None, 7])
    @pytest.mark.parametrize("name", [GENERATOR, DIFFUSION])
    def test_the_ends_are_what_the_seeds_draw(
        self, models: dict[str, LoadedModel], name: str, label: int | None, wishes: dict[str, Any]
    ) -> None:
        wishes = {**(wishes if name == DIFFUSION else {}), "label": label}
        between = images_of(models[name], 9, seeds=(11, 12, 13), **wishes)
        for place, seed in ((0, 11), (4, 12), (8, 13)):
            assert np.array_equal(between[place], images_of(models[name], 1, seed, **wishes)[0])

    def test_the_way_between_is_short_steps(self, diffuser: LoadedModel) -> None:
        between = images_of(diffuser, 33, seeds=(1, 2), label=3, sampler="ancestral")
        steps = np.abs(np.diff(between, axis=0)).mean(axis=(1, 2, 3))
        assert steps.max() < 0.2 * np.abs(between[0] - between[-1]).mean()

    def test_all_images_are_of_one_class(self, model: LoadedModel) -> None:
        for label, wanted in ((None, 0), (4, 4)):
            labels = plan(model, Ask(5, 0, label, seeds=(1, 2))).labels
            assert labels is not None
            assert labels.tolist() == [wanted] * 5

    def test_there_must_be_an_image_for_each(self, model: LoadedModel) -> None:
        with pytest.raises(Invalid, match="ask for 3 or more") as caught:
            plan(model, Ask(2, 0, seeds=(1, 2, 3)))
        assert caught.value.field == "n"


WISHES: dict[str, Any] = {"steps": 3, "sampler": "heun", "guidance": 3.0, "temperature": 0.5, "seeds": (1, 2)}


@pytest.mark.parametrize(
    ("name", "field"),
    [
        *((GENERATOR, field) for field in ("steps", "sampler", "guidance", "temperature")),
        *((PIXELS, field) for field in ("steps", "sampler", "guidance", "seeds")),
        (DIFFUSION, "temperature"),
    ],
)
def test_what_a_model_has_no_use_for_is_refused(models: dict[str, LoadedModel], name: str, field: str) -> None:
    with pytest.raises(Invalid, match="leave it out") as caught:
        plan(models[name], Ask(2, 0, **{field: WISHES[field]}))
    assert caught.value.field == field


class TestDiffusion:
    def test_what_is_left_out_is_the_model_s_own(self, diffuser: LoadedModel) -> None:
        course = plan(diffuser, Ask(1, 0)).course
        assert course is not None
        assert (course.sampler, course.guidance) == ("dpmpp_2m", 1.5)
        assert course.sigmas == pytest.approx(diffusion.karras(6, (0.01, 20.0)))
        assert np.array_equal(images_of(diffuser, 3), images_of(diffuser, 3, sampler="dpmpp_2m", steps=6, guidance=1.5))

    def test_classes_are_drawn_about_their_means(self, diffuser: LoadedModel) -> None:
        images = images_of(diffuser, 200, label=4, guidance=1.0, sampler="heun", steps=20)
        assert np.abs(images.mean(axis=0) - class_means(10, 8)[4]).max() < 0.04
        assert images.std(axis=0).mean() == pytest.approx(0.1, rel=0.1)

    def test_guidance_goes_beyond_the_class_away_from_all(self, diffuser: LoadedModel) -> None:
        """D is linear here, and so is what guidance does to it: the mean moves from that of none by w."""
        means = class_means(10, 8)
        step = means[4] - means[10]
        plain, guided = (images_of(diffuser, 1, label=4, guidance=w, sampler="euler", steps=20)[0] for w in (1.0, 1.2))
        inside = (guided > 0) & (guided < 1) & (plain > 0) & (plain < 1)
        assert np.abs((guided - plain) - 0.2 * step)[inside].max() < 2e-3

    @pytest.mark.parametrize(("guidance", "rows"), [(1.0, 3), (2.0, 6), (0.0, 6)])
    def test_rows_are_doubled_only_where_there_is_guidance(
        self, diffuser: LoadedModel, guidance: float, rows: int
    ) -> None:
        calls: list[RowCall] = []
        drawing = plan(diffuser, Ask(3, 0, label=2, guidance=guidance, steps=5))
        ((job, work),) = draw(diffuser, drawing)
        drive(job, evaluate(diffuser, calls))
        assert [call.size for call in calls] == [rows] * 5
        assert work == rows * 5
        for call in calls:
            assert call.capability is Capability.DENOISE_STEP
            assert call.inputs["label"].tolist() == ([2, 2, 2, 10, 10, 10] if rows == 6 else [2, 2, 2])
            assert call.inputs["sigma"].dtype == np.float32
            assert len(set(call.inputs["sigma"].tolist())) == 1

    @pytest.mark.parametrize(("sampler", "evaluations"), [("euler", 4), ("heun", 7), ("dpmpp_2m", 4), ("ancestral", 4)])
    def test_each_sampler_has_its_evaluations(self, diffuser: LoadedModel, sampler: str, evaluations: int) -> None:
        calls: list[RowCall] = []
        ((job, work),) = draw(diffuser, plan(diffuser, Ask(1, 0, steps=4, sampler=sampler, guidance=1.0)))
        drive(job, evaluate(diffuser, calls))
        assert len(calls) == work == evaluations
        assert calls[0].inputs["sigma"] == pytest.approx(20.0)

    @pytest.mark.parametrize(
        ("field", "value", "says"),
        [
            ("steps", 21, "expected 1 to 20"),
            ("sampler", "consistency", "one of dpmpp_2m, heun, euler, ancestral"),
            ("sampler", "ddim", "found 'ddim'"),
        ],
    )
    def test_wishes_out_of_bounds_are_refused(self, diffuser: LoadedModel, field: str, value: Any, says: str) -> None:
        with pytest.raises(Invalid, match=says) as caught:
            plan(diffuser, Ask(1, 0, **{field: value}))
        assert caught.value.field == field
        assert diffuser.id in caught.value.detail

    def test_a_drawing_without_a_plan_takes_the_defaults(self, diffuser: LoadedModel) -> None:
        ((job, _),) = draw(diffuser, Drawing(2, 1, np.array([0, 1])))
        assert np.array_equal(drive(job, on(diffuser)), images_of(diffuser, 2, 1))

    def test_without_labels_no_class_is_drawn(self, diffuser: LoadedModel) -> None:
        calls: list[RowCall] = []
        ((job, _),) = draw(diffuser, Drawing(2, 1))
        drive(job, evaluate(diffuser, calls))
        assert all(call.inputs["label"].tolist() == [10, 10] for call in calls)


class TestPreviews:
    def shown(self, model: LoadedModel, previews: int, **wishes: Any) -> tuple[list[int], list[np.ndarray], np.ndarray]:
        places: list[int] = []
        images: list[np.ndarray] = []

        def preview(place: int, batch: np.ndarray) -> None:
            places.append(place)
            images.append(batch)

        ((job, _),) = draw(model, plan(model, Ask(2, 1, **wishes)), previews, preview)
        return places, images, drive(job, on(model))

    @pytest.mark.parametrize(("steps", "previews", "given"), [(6, 0, 0), (6, 1, 1), (6, 5, 5), (6, 8, 5), (1, 8, 0)])
    def test_there_are_as_many_as_asked_for_or_as_there_can_be(
        self, diffuser: LoadedModel, steps: int, previews: int, given: int
    ) -> None:
        places, images, _ = self.shown(diffuser, previews, steps=steps)
        assert places == list(range(given))
        assert all(image.shape == (2, *SIDES) and image.min() >= 0 and image.max() <= 1 for image in images)

    def test_they_come_nearer_to_the_end(self, diffuser: LoadedModel) -> None:
        _, images, final = self.shown(diffuser, 4, steps=20, sampler="heun")
        distances = [float(np.abs(image - final).mean()) for image in images]
        assert distances == sorted(distances, reverse=True)

    def test_they_change_nothing(self, diffuser: LoadedModel) -> None:
        assert np.array_equal(self.shown(diffuser, 5)[2], self.shown(diffuser, 0)[2])

    def test_one_evaluation_has_none(self, model: LoadedModel) -> None:
        places, _, final = self.shown(model, 8)
        assert places == []
        assert final.shape == (2, *SIDES)


def test_a_model_whose_images_have_no_size_is_refused(diffuser: LoadedModel) -> None:
    data = diffuser.manifest.data.model_copy(update={"shape": (1, None, None)})
    free = replace(diffuser, manifest=diffuser.manifest.model_copy(update={"data": data}))
    with pytest.raises(Invalid, match="no size of their own") as caught:
        plan(free, Ask(1, 0))
    assert caught.value.field == "model"


def test_a_model_without_classes_refuses_a_label_and_guidance(models: dict[str, LoadedModel]) -> None:
    with pytest.raises(Invalid, match="leave label and prompt out"):
        plan(models[PIXELS], Ask(1, 0, label=1))
    with pytest.raises(Invalid, match="has no classes"):
        resolve_label(models[TABLE], 1, None)


def test_noise_between_seeds_is_that_of_the_path() -> None:
    drawing = Drawing(5, 0, seeds=(1, 2))
    assert np.array_equal(drawing.unit_noise((4,), 2), latents.path((1, 2), 5, (4,), 2))


@pytest.mark.parametrize(
    ("label", "prompt", "expected"), [(None, None, None), (None, "", None), (None, "  7 ", 7), (4, None, 4), (4, "", 4)]
)
def test_a_class_is_wished_for_by_number_or_name(
    model: LoadedModel, label: int | None, prompt: str | None, expected: int | None
) -> None:
    assert resolve_label(model, label, prompt) == expected


@pytest.mark.parametrize(
    ("label", "prompt", "field"), [(10, None, "label"), (-1, None, "label"), (None, "dog", "prompt")]
)
def test_a_class_that_the_model_does_not_have_is_refused(
    model: LoadedModel, label: int | None, prompt: str | None, field: str
) -> None:
    with pytest.raises(Invalid) as caught:
        resolve_label(model, label, prompt)
    assert caught.value.field == field
    assert model.id in caught.value.detail


def test_a_label_and_another_prompt_contradict_each_other(model: LoadedModel) -> None:
    with pytest.raises(Invalid):
        resolve_label(model, 3, "7")


@pytest.mark.parametrize(("name", "output"), [(GENERATOR, "x"), (DIFFUSION, "x0")])
def test_pixels_that_are_no_numbers_are_not_sent(models: dict[str, LoadedModel], name: str, output: str) -> None:
    ((job, _),) = draw(models[name], Drawing(1, 0))
    with pytest.raises(ModelFailed, match="no numbers"):
        drive(job, lambda call: {output: np.full((1, 1, 8, 8), np.nan, np.float32)})
