"""Numbers of a JSON body, read in pieces: the same as a parser's, or none at all."""

import json

import numpy as np
import pytest

from service.codecs import numbers

REGULAR = {
    "a row": [1.5, -2e-3, 0],
    "one number": [7],
    "rows": [[1, 2], [3, 4], [5, 6]],
    "one row": [[1, 2, 3]],
    "one column": [[1], [2]],
    "images": np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5).tolist(),
    "many pieces": np.random.default_rng(0).normal(size=(300, 41)).tolist(),
}
IRREGULAR = [
    [],
    [[]],
    [[], []],
    [[1], [2, 3]],
    [1, [2]],
    [[1, 2], 3],
    ["a"],
    [None],
    [True],
    [[1, "2"]],
    {"a": 1},
    "x",
    5,
]
BROKEN = ["[1,,2]", "[1 2]", "[1[2]]", "[[1,2],]", "[[1,2]", "[[1],[2]]]", "[01]", "[1,2,]", "[[1],,[2]]", "[,1]"]
BROKEN += ["[[1][2]]", "[]1,[]", "[1,2", "[", "[+1]", "[1.]", "[.5]", "[--1]", "[1e]", "[[1,2],[3,4]", "[[1,2]],[3]"]


@pytest.mark.parametrize("case", REGULAR)
@pytest.mark.parametrize(
    "template", ['{"inputs":%s}', '{"a": 1, "inputs" : %s , "b": "[1, 2]"}', '{\n"inputs":\n%s\n}']
)
def test_they_are_the_parser_s_and_the_rest_stays(case: str, template: str) -> None:
    blob = (template % json.dumps(REGULAR[case])).encode()
    found = numbers.cut_out(blob, "inputs")
    assert found is not None
    rest, array = found
    np.testing.assert_array_equal(array, np.array(json.loads(blob)["inputs"], np.float64))
    assert json.loads(rest) == {**json.loads(blob), "inputs": None}


@pytest.mark.parametrize("given", IRREGULAR, ids=str)
def test_what_is_no_regular_list_of_numbers_is_left_to_the_parser(given: object) -> None:
    assert numbers.cut_out(json.dumps({"inputs": given, "a": 1}).encode(), "inputs") is None


@pytest.mark.parametrize("text", BROKEN)
def test_broken_json_is_left_to_the_parser(text: str) -> None:
    found = numbers.cut_out(f'{{"inputs":{text}}}'.encode(), "inputs")
    if found is not None:  # the numbers were whole; what follows them is not
        with pytest.raises(json.JSONDecodeError):
            json.loads(found[0])


def test_a_text_that_looks_like_the_field_is_a_text() -> None:
    blob = json.dumps({"input": ',"inputs":[[1,2]]'}).encode()
    assert numbers.cut_out(blob, "inputs") is None


def test_without_the_field_there_is_nothing_to_cut() -> None:
    assert numbers.cut_out(b'{"others":[1,2]}', "inputs") is None


@pytest.mark.parametrize("seed", range(20))
def test_pieces_of_any_size_give_the_same(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    array = rng.normal(size=tuple(rng.integers(1, 6, rng.integers(1, 5)))).round(3)
    monkeypatch.setattr(numbers, "_PIECE", int(rng.integers(12, 60)))
    found = numbers.cut_out(json.dumps({"inputs": array.tolist(), "a": "b"}).encode(), "inputs")
    assert found is not None
    np.testing.assert_array_equal(found[1], array)
