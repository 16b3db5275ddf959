"""JSON and base64 taken apart; what is large is taken apart in pieces, and what comes of it is the same."""

import base64

import numpy as np
import orjson
import pytest

from service.api import parsing
from service.errors import BadRequest, Invalid
from service.schemas import DenoiseBody, ScoreBody

PIECE = parsing._BASE64_PIECE


def numbers(count: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 50)).round(6)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 3 * PIECE // 4 - 1, 3 * PIECE // 4, 3 * PIECE // 4 + 1, 2 * PIECE])
def test_base64_of_any_length_is_decoded(size: int) -> None:
    blob = np.random.default_rng(size).bytes(size)
    assert parsing.from_base64(base64.b64encode(blob).decode(), "image") == blob


@pytest.mark.parametrize("text", ["A" * (PIECE - 2) + "==" + "AAAA", "A" * PIECE + "AAA", "A" * PIECE + "A*AA", "A="])
def test_what_is_no_base64_is_refused_wherever_the_pieces_end(text: str) -> None:
    with pytest.raises(BadRequest, match="expected base64"):
        parsing.from_base64(text, "image")


def test_many_numbers_are_the_parser_s() -> None:
    rows = numbers(3000)
    large = parsing.parse_json(orjson.dumps({"inputs": rows.tolist(), "alpha": 0.2}), ScoreBody)
    assert isinstance(large.inputs, np.ndarray), "this body is large enough to be read in pieces"
    np.testing.assert_array_equal(large.inputs, rows)
    assert large.alpha == 0.2


def test_a_large_body_is_checked_like_a_small_one() -> None:
    rows = numbers(3000).tolist()
    for wrong, error in (({"alpha": 2}, Invalid), ({"more": 1}, Invalid)):
        with pytest.raises(error, match=next(iter(wrong))):
            parsing.parse_json(orjson.dumps({"inputs": rows, **wrong}), ScoreBody)
    whole = orjson.dumps({"inputs": rows})
    for broken in (whole[:-1], whole[:-2] + b"}", whole + b"]", whole.replace(b"],[", b"][", 1)):
        with pytest.raises(BadRequest, match="expected JSON"):
            parsing.parse_json(broken, ScoreBody)


ROWS = [{"a": i / 7, "b": None, "c": "open"} for i in range(1000)]


def test_many_rows_are_the_parser_s() -> None:
    """Rows that are read apart are those that pydantic reads, and what stands beside them is checked as ever."""
    sent = {"model": "m", "alpha": 0.1, "inputs": ROWS, "explain": True}
    assert parsing.parse_json(orjson.dumps(sent), ScoreBody) == ScoreBody.model_validate(sent)
    with pytest.raises(Invalid, match="alpha: "):
        parsing.parse_json(orjson.dumps({**sent, "alpha": "0.1"}), ScoreBody)
    with pytest.raises(Invalid, match="beta: there is no such field"):
        parsing.parse_json(orjson.dumps({**sent, "beta": 1}), ScoreBody)
    with pytest.raises(BadRequest, match="expected JSON"):
        parsing.parse_json(orjson.dumps(sent)[:-1], ScoreBody)


def test_what_is_irregular_is_left_to_the_parser() -> None:
    rows = [*numbers(3000).tolist(), [1.0]]
    assert parsing.parse_json(orjson.dumps({"inputs": rows}), ScoreBody).inputs == rows
    nested = {"inputs": {"inputs": rows}}
    assert parsing.parse_json(orjson.dumps(nested), ScoreBody).inputs == nested["inputs"]


def test_the_last_of_two_fields_of_one_name_counts() -> None:
    twice = b'{"inputs":%b,"inputs":[[1]]}' % orjson.dumps(numbers(3000).tolist())
    assert parsing.parse_json(twice, ScoreBody).inputs == [[1]]


def test_texts_of_pictures_are_texts() -> None:
    text = base64.b64encode(b"x" * PIECE).decode()
    assert parsing.parse_json(orjson.dumps({"image": [text]}), DenoiseBody).image == [text]
