"""Tokens: ids are the tokenizer's, what it does not know is refused, rows are padded to few widths."""

import numpy as np
import pytest

from service.errors import Invalid
from service.model import LoadedModel
from service.tasks.tokens import pad, tokenize, width_of
from tests.toys.directories import CHARACTERS, WRITER


@pytest.fixture
def writer(models: dict[str, LoadedModel]) -> LoadedModel:
    return models[WRITER]


def test_ids_are_the_tokenizer_s(writer: LoadedModel) -> None:
    (ids,) = tokenize(writer, ["To be"], 100)
    assert "".join(CHARACTERS[i] for i in ids) == "To be"


@pytest.mark.parametrize(
    ("texts", "field", "says"),
    [
        ([""], "input", "empty text"),
        (["ab", ""], "input[1]", "empty text"),
        (["a" * 11], "input", "11 characters, the limit is 10"),
        (["ab§cd"], "input", "'§' at position 2"),
        (["ab", "🙂"], "input[1]", "'🙂' at position 0"),
        (["a<unk>b"], "input", "'<' at position 1"),
    ],
)
def test_what_cannot_be_scored_is_refused_by_place(
    writer: LoadedModel, texts: list[str], field: str, says: str
) -> None:
    with pytest.raises(Invalid) as caught:
        tokenize(writer, texts, 10)
    assert caught.value.field == field
    assert says in caught.value.detail


@pytest.mark.parametrize("context", [2, 7, 32, 100])
def test_every_length_has_one_of_few_widths_that_hold_it(context: int) -> None:
    widths = [width_of(length, context) for length in range(1, context + 1)]
    assert all(length <= width <= context for length, width in enumerate(widths, start=1))
    assert widths == sorted(widths)
    assert widths[-1] == context
    assert len(set(widths)) <= 5


def test_padding_is_behind_and_lengths_say_where() -> None:
    rows = [np.array([3, 4]), np.array([5]), np.array([6, 7, 8])]
    padded = pad(rows, 4)
    assert padded["input_ids"].tolist() == [[3, 4, 0, 0], [5, 0, 0, 0], [6, 7, 8, 0]]
    assert padded["lengths"].tolist() == [2, 1, 3]
