"""Generate: who is drawn, from which noise, and what is refused."""

import numpy as np
import pytest

from service.errors import Invalid, ModelFailed
from service.model import LoadedModel
from service.tasks.generate import Drawing, draw, plan, resolve_label
from tests.service.tasks.drive import drive, on
from tests.toys.directories import GENERATOR, TABLE

NOTHING: dict[str, object] = {"steps": None, "sampler": None, "guidance": None}


@pytest.fixture
def model(models: dict[str, LoadedModel]) -> LoadedModel:
    return models[GENERATOR]


def test_images_are_of_the_model_s_shape_in_range(model: LoadedModel) -> None:
    images = drive(draw(model, plan(model, 5, 1, None, None, NOTHING)), on(model))
    assert images.shape == (5, 1, 8, 8)
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert images.max() <= 1
    assert len(np.unique(images.reshape(5, -1), axis=0)) == 5


def test_a_sample_depends_on_its_seed_index_and_label_alone(model: LoadedModel) -> None:
    def images(n: int, seed: int, label: int) -> np.ndarray:
        return drive(draw(model, plan(model, n, seed, label, None, NOTHING)), on(model))

    many = images(16, seed=3, label=7)
    assert np.array_equal(images(4, seed=3, label=7), many[:4])
    assert not np.array_equal(images(1, seed=4, label=7), many[:1])
    assert not np.array_equal(images(1, seed=3, label=8), many[:1])


def test_the_classes_take_turns_where_none_is_wished_for(model: LoadedModel) -> None:
    labels = plan(model, 23, 0, None, None, NOTHING).labels
    assert labels is not None
    assert labels.tolist() == [i % 10 for i in range(23)]


def test_given_latents_replace_the_noise(model: LoadedModel) -> None:
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(3, 4)).round(3).tolist()
    a = drive(draw(model, plan(model, 3, 1, 2, latents, NOTHING)), on(model))
    b = drive(draw(model, plan(model, 3, 99, 2, latents, NOTHING)), on(model))
    assert np.array_equal(a, b)
    moved = drive(draw(model, plan(model, 3, 1, 2, latents[::-1], NOTHING)), on(model))
    assert np.array_equal(moved, a[::-1])


@pytest.mark.parametrize(
    "latents",
    [[[0.0] * 4], [[0.0] * 3] * 2, [[], []], [], [[0.0] * 4] * 3],
    ids=["few", "short", "empty", "no", "many"],
)
def test_latents_of_another_shape_are_refused(model: LoadedModel, latents: list) -> None:
    with pytest.raises(Invalid, match="expected 2 × 4 numbers") as caught:
        plan(model, 2, 0, None, latents, NOTHING)
    assert caught.value.field == "latents"


def test_latents_too_large_for_the_graph_are_refused(model: LoadedModel) -> None:
    with pytest.raises(Invalid) as caught:
        plan(model, 1, 0, None, [[1e300, 0, 0, 0]], NOTHING)
    assert caught.value.field == "latents"


@pytest.mark.parametrize("field", NOTHING)
def test_what_a_model_of_one_evaluation_has_no_use_for_is_refused(model: LoadedModel, field: str) -> None:
    with pytest.raises(Invalid, match="leave it out") as caught:
        plan(model, 1, 0, None, None, {**NOTHING, field: 3})
    assert caught.value.field == field


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


def test_a_model_without_classes_refuses_a_label(models: dict[str, LoadedModel]) -> None:
    with pytest.raises(Invalid, match="has no classes"):
        resolve_label(models[TABLE], 1, None)


def test_pixels_that_are_no_numbers_are_not_sent(model: LoadedModel) -> None:
    with pytest.raises(ModelFailed, match="no numbers"):
        drive(draw(model, Drawing(1, 0)), lambda call: {"x": np.full((1, 1, 8, 8), np.nan, np.float32)})
