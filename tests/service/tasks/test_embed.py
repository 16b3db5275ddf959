"""Embed: embeddings are the graph's, whoever shares a row's batch and however wide a text is padded."""

import numpy as np
import pytest

from service.engine.job import Call, RowCall
from service.errors import Invalid, ModelFailed
from service.model import LoadedModel
from service.tasks.embed import check_dimensions, check_lengths, embed_samples, embed_texts
from service.tasks.tokens import tokenize
from tests.service.tasks.drive import drive, on
from tests.toys.directories import CHARACTERS, CONTEXT, EMBEDDER, START, TABLE, TEXT_EMBEDDER, normal_images
from tests.toys.graphs import encoder_weights


@pytest.fixture
def reader(models: dict[str, LoadedModel]) -> LoadedModel:
    return models[TEXT_EMBEDDER]


def random_text(length: int) -> str:
    return "".join(np.random.default_rng(length).choice(list(CHARACTERS), length))


def test_samples(models: dict[str, LoadedModel]) -> None:
    rows = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    for name, samples in ((EMBEDDER, normal_images(5, seed=1)), (TABLE, rows)):
        found = drive(embed_samples(models[name], samples), on(models[name]))
        assert found == pytest.approx(samples.reshape(len(samples), -1) @ encoder_weights(samples[0].size), abs=1e-4)


def test_a_text_stands_behind_the_start_token(reader: LoadedModel) -> None:
    rows = tokenize(reader, [random_text(n) for n in (5, 1, CONTEXT - 1, 12, 5)], 100)
    found = drive(embed_texts(reader, rows), on(reader))
    weights = encoder_weights(len(CHARACTERS))
    assert found == pytest.approx(np.stack([weights[[START, *ids]].sum(0) for ids in rows]), abs=1e-4)
    assert np.array_equal(found[0], found[4])


def test_texts_come_in_few_widths(reader: LoadedModel) -> None:
    rows = tokenize(reader, [random_text(n) for n in range(1, CONTEXT)], 100)
    shapes = []
    answer = on(reader)

    def listen(call: Call):
        assert isinstance(call, RowCall)
        shapes.append(call.inputs["input_ids"].shape)
        return answer(call)

    drive(embed_texts(reader, rows), listen)
    assert sum(count for count, _ in shapes) == len(rows)
    assert sorted(width for _, width in shapes) == [CONTEXT // 8, CONTEXT // 4, CONTEXT // 2, CONTEXT]


def test_a_text_longer_than_the_context_is_refused_by_name(reader: LoadedModel) -> None:
    rows = tokenize(reader, ["To be", random_text(CONTEXT)], 100)
    check_lengths(reader, rows[:1])
    with pytest.raises(Invalid, match=rf"input\[1\]: {CONTEXT} tokens, model {TEXT_EMBEDDER} takes {CONTEXT - 1}"):
        check_lengths(reader, rows)


@pytest.mark.parametrize("name", [EMBEDDER, TEXT_EMBEDDER])
def test_only_the_model_s_own_size(models: dict[str, LoadedModel], name: str) -> None:
    for fine in (None, 6):
        check_dimensions(models[name], fine)
    with pytest.raises(Invalid, match=f"dimensions: embeddings of model {name} have 6 numbers, found 3: leave it out"):
        check_dimensions(models[name], 3)


def test_numbers_that_are_none_are_the_model_s_failure(models: dict[str, LoadedModel]) -> None:
    model = models[TABLE]
    answer = on(model)

    def spoiled(call: Call):
        outputs = answer(call)
        outputs["embedding"][1, 2] = np.nan
        return outputs

    with pytest.raises(ModelFailed, match="item 1"):
        drive(embed_samples(model, np.zeros((3, 3), np.float32)), spoiled)
