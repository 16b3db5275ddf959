"""Pixels: images token by token, whoever is drawn beside, and completed given what stands before."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from service.engine.job import Call, Job, SequenceCall
from service.engine.loop import Engine
from service.errors import Invalid
from service.loading import load_model
from service.model import LoadedModel
from service.samplers import noise
from service.samplers.tokens import log_softmax
from service.settings import Settings
from service.tasks import pixels
from tests.service.tasks.drive import drive, logits_after, on
from tests.toys import directories, graphs
from tests.toys.broken import edit_graph, edit_manifest
from tests.toys.directories import LEVELS, PIXELS

SIDE = 8
TOP = LEVELS - 1


@pytest.fixture
def model(models: dict[str, LoadedModel]) -> LoadedModel:
    return models[PIXELS]


def finish(model: LoadedModel, jobs: list[tuple[Job, float]]) -> np.ndarray:
    """All images (n, 1, 8, 8), one after the other and each without a cache."""
    return np.concatenate([drive(job, on(model)) for job, _ in jobs])


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(2)
    engine.start()
    yield engine
    engine.stop()


def finish_together(engine: Engine, model: LoadedModel, jobs: list[tuple[Job, float]]) -> np.ndarray:
    """All images, as the service draws them."""
    ended = [threading.Event() for _ in jobs]
    tickets = [
        engine.submit(model, job, work, lambda ticket, event=event: event.set())
        for (job, work), event in zip(jobs, ended, strict=True)
    ]
    assert all(event.wait(30) for event in ended)
    assert [ticket.error for ticket in tickets] == [None] * len(jobs)
    return np.concatenate([ticket.result for ticket in tickets])


def lower(rows: int) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[SIDE - rows :] = True
    return mask


def draw_slowly(model: LoadedModel, seed: int, index: int) -> np.ndarray:
    """The chain rule written out: each pixel by inverting its conditional's cumulative distribution."""
    runner, uniform = model.runners["next_token"], noise.uniform(seed, index, SIDE * SIDE)
    history = [LEVELS]
    for u in uniform:
        logits = logits_after(runner, history)
        history.append(int((np.exp(log_softmax(logits)[0]).cumsum() <= u).sum()))
    return np.array(history[1:]).reshape(1, SIDE, SIDE) / TOP


def test_images_are_drawn_by_the_chain_rule(model: LoadedModel) -> None:
    drawn = finish(model, pixels.draw(model, 3, seed=5))
    assert (drawn.shape, drawn.dtype) == ((3, 1, SIDE, SIDE), np.float32)
    for i in range(3):
        assert drawn[i] == pytest.approx(draw_slowly(model, 5, i))
    assert set(np.rint(drawn * TOP).ravel()) == set(range(LEVELS))


def test_an_image_is_the_same_in_any_company(engine: Engine, tmp_path: Path) -> None:
    model = load_model(
        directories.write_pixels(tmp_path), Settings(provider="cpu"), "cpu"
    )  # its slots are this engine's
    together = finish_together(engine, model, pixels.draw(model, 20, seed=5))
    alone = [finish_together(engine, model, [job])[0] for job in pixels.draw(model, 3, seed=5)]
    assert np.array_equal(together[:3], alone)
    assert len({image.tobytes() for image in together}) == 20
    assert not np.array_equal(together, finish_together(engine, model, pixels.draw(model, 20, seed=6)))


@pytest.mark.parametrize("known", [None, {"max_abs_diff": 1.0, "tolerance": 1e-4, "batch_sizes": [1, 2, 8]}])
def test_so_it_is_where_rows_depend_on_their_batch(engine: Engine, tmp_path: Path, known: dict | None) -> None:
    directory = directories.write_pixels(tmp_path)
    edit_graph(directory, "next_token.onnx", graphs.times_rows)
    edit_manifest(directory, lambda m: m["capabilities"]["next_token"].update(batch_invariance=known))
    model = load_model(directory, Settings(provider="cpu"), "cpu")
    together = finish_together(engine, model, pixels.draw(model, 5, seed=5))
    alone = [finish_together(engine, model, [job])[0] for job in pixels.draw(model, 5, seed=5)]
    assert np.array_equal(together, alone)


def test_temperature_zero_leaves_nothing_to_chance(model: LoadedModel) -> None:
    images = finish(model, [*pixels.draw(model, 2, seed=1, temperature=0), *pixels.draw(model, 1, 2, temperature=0)])
    assert len({image.tobytes() for image in images}) == 1


RNG = np.random.default_rng(0)
MASKS = {
    "lower half": lower(4),
    "upper half": ~lower(4),
    "one pixel": np.arange(SIDE * SIDE).reshape(SIDE, SIDE) == 20,
    "here and there": RNG.random((SIDE, SIDE)) < 0.3,
    "everything": lower(SIDE),
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_what_is_drawn_anew_given_the_rest_of_a_drawing_is_that_drawing(model: LoadedModel, mask: np.ndarray) -> None:
    """Every conditional and its random number are the same, whichever of the pixels are known."""
    whole = finish(model, pixels.draw(model, 3, seed=5))
    (again,) = finish(model, pixels.complete(model, whole[2:], mask, 3, seed=5)[2:])
    assert np.array_equal(again, whole[2])


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_known_pixels_come_back_as_they_were_given_and_the_others_do_not_matter(
    model: LoadedModel, mask: np.ndarray
) -> None:
    given = RNG.random((1, 1, SIDE, SIDE)).astype(np.float32)
    other = np.where(mask, np.float32(0.123), given)
    first, second = (finish(model, pixels.complete(model, images, mask, 2, seed=3)) for images in (given, other))
    assert np.array_equal(first, second)
    assert np.array_equal(first[:, 0, ~mask], np.broadcast_to(given[0, 0, ~mask], (2, (~mask).sum())))
    holes = first[:, 0, mask] * TOP
    assert holes == pytest.approx(np.rint(holes))


def calls_of(model: LoadedModel, images: np.ndarray, mask: np.ndarray) -> list[SequenceCall]:
    ((job, work),) = pixels.complete(model, images, mask, 1, seed=0)
    calls: list[SequenceCall] = []
    answer = on(model)

    def listen(call: Call):
        assert isinstance(call, SequenceCall)
        calls.append(call)
        return answer(call)

    drive(job, listen)
    if calls:
        assert work == sum(call.size for call in calls) - 1
    return calls


def test_the_known_beginning_is_the_prompt_and_the_known_end_is_not_computed(model: LoadedModel) -> None:
    given = RNG.random((1, 1, SIDE, SIDE)).astype(np.float32)
    levels = np.rint(given * TOP).astype(int).ravel()
    mask = np.zeros((SIDE, SIDE), bool)
    mask[2, 3] = mask[2, 6] = True
    first, last = 2 * SIDE + 3, 2 * SIDE + 6
    (call,) = calls_of(model, given, mask)
    assert call.prompt.tolist() == [LEVELS, *levels[:first]]
    assert call.given is not None
    assert call.given.tolist() == [-1, *levels[first + 1 : last], -1], "a known pixel is fed instead of a chosen one"


def test_without_a_hole_nothing_is_computed(model: LoadedModel) -> None:
    given = RNG.random((1, 1, SIDE, SIDE)).astype(np.float32)
    nothing = np.zeros((SIDE, SIDE), bool)
    assert calls_of(model, given, nothing) == []
    assert np.array_equal(finish(model, pixels.complete(model, given, nothing, 1, seed=0)), given)


def test_a_mask_of_another_size_is_refused(model: LoadedModel) -> None:
    with pytest.raises(Invalid, match="mask: expected 8 × 8 as the image, found 8 × 7"):
        pixels.complete(model, np.zeros((1, 1, SIDE, SIDE), np.float32), np.ones((8, 7), bool), 1, seed=0)
