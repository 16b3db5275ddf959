"""Bodies: what is sent under which media type."""

import json
from pathlib import Path

import numpy as np
import pytest

from amostra import sent
from amostra.sent import Body


def kind(body: Body) -> str:
    return body.arguments["headers"]["content-type"]


def test_numbers_of_numpy_and_gaps_are_json() -> None:
    body = sent.of_json({"seed": np.int64(3), "latents": np.ones((1, 2)), "n": None})
    assert json.loads(body.arguments["content"]) == {"seed": 3, "latents": [[1.0, 1.0]]}
    for rows in (np.array([[1.0, np.nan]]), [[1.0, np.float32("nan")]], [[1.0, None]]):
        assert json.loads(sent.of_items(rows, {}).arguments["content"]) == {"inputs": [[1.0, None]]}


def test_what_json_cannot_say_is_refused_here() -> None:
    with pytest.raises(ValueError, match="JSON"):
        sent.of_json({"sigma": float("inf")})
    with pytest.raises(TypeError, match="found set"):
        sent.of_json({"latents": {1}})


def test_fields_beside_raw_bytes_stand_in_the_query() -> None:
    body = sent.of_items(np.zeros((2, 1, 8, 8)), {"model": "m", "explain": True, "alpha": np.float64(0.1), "fdr": None})
    assert kind(body) == "application/x-npy"
    assert body.query == {"model": "m", "explain": "true", "alpha": "0.1"}


def test_doubles_travel_as_singles() -> None:
    blob, _ = sent.picture(np.zeros((100, 100)))
    assert len(blob) < 41_000


@pytest.mark.parametrize(
    ("blob", "expected"),
    [
        (b"\x89PNG\r\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"PAR1....", "application/vnd.apache.parquet"),
        (b"ARROW1\0\0", "application/vnd.apache.arrow.file"),
        (b"\xff\xff\xff\xff\x10", "application/vnd.apache.arrow.stream"),
        (b"a,b\n1,2\n", "text/csv"),
    ],
)
def test_files_tell_what_they_are(blob: bytes, expected: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(blob)
    assert kind(sent.of_items(blob, {})) == kind(sent.of_items(tmp_path / "file", {})) == expected


def test_bytes_that_are_no_picture_are_not_said_to_be_one() -> None:
    assert kind(sent.of_pictures(b"GIF89a", {})) == "application/octet-stream"


def test_texts_are_no_paths() -> None:
    assert json.loads(sent.of_items(["a.png"], {}).arguments["content"]) == {"input": ["a.png"]}
