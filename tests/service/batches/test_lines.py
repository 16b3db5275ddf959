"""The requests of a file: numbered as a reader of it counts, with seeds that follow from the line."""

from pathlib import Path

import orjson
import pytest

from service.batches import lines
from service.samplers.noise import MAX_SEED

ENDPOINT = "/v1/images/generations"


def write(path: Path, *asked: object) -> Path:
    blobs = [one if isinstance(one, bytes) else orjson.dumps(one) for one in asked]
    path.write_bytes(b"\n".join(blobs))
    return path


def line(custom_id: str, url: str = ENDPOINT, **body: object) -> dict:
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


def check(path: Path, most_lines: int = 100, most_bytes: int = 1000) -> int:
    return lines.check(path, ENDPOINT, most_lines, most_bytes, lambda: False)


def test_blank_lines_count_as_lines_only(tmp_path: Path) -> None:
    path = write(tmp_path / "in", line("a"), b"", b"  \r", line("b"))
    assert check(path) == 2
    assert [(number, found.custom_id) for number, found in lines.read(path, 1000)] == [(1, "a"), (4, "b")]


def test_all_that_is_wrong_is_told_up_to_a_bound(tmp_path: Path) -> None:
    with pytest.raises(lines.BadLines) as bad:
        check(write(tmp_path / "in", b"x", line("a"), line("a"), line("b", url="/v1/score")))
    assert [(error["line"], error["code"]) for error in bad.value.errors] == [
        (1, "invalid_json_line"),
        (3, "duplicate_custom_id"),
        (4, "invalid_url"),
    ]
    with pytest.raises(lines.BadLines) as bad:
        check(write(tmp_path / "in", *[b"x"] * 500))
    assert len(bad.value.errors) == 100


def test_too_many_are_not_read_to_the_end(tmp_path: Path) -> None:
    path = write(tmp_path / "in", *[line(str(i)) for i in range(50)])
    assert check(path, most_lines=50) == 50
    with pytest.raises(lines.BadLines, match="AMOSTRA_BATCH_LINES") as bad:
        check(path, most_lines=20)
    assert bad.value.errors[-1]["line"] == 21


def test_a_line_without_end_is_not_read_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.write_bytes(b"{" * 1_000_000)
    with pytest.raises(lines.BadLines) as bad:
        check(path)
    assert [error["code"] for error in bad.value.errors] == ["request_too_large"]


def test_the_seed_follows_from_batch_and_line_and_only_where_none_is_said() -> None:
    def seed(batch: str, custom_id: str, **body: object) -> object:
        return orjson.loads(lines.Line.model_validate(line(custom_id, **body)).content(batch)).get("seed")

    drawn = {seed(batch, custom_id) for batch in ("b1", "b2") for custom_id in ("a", "b")}
    assert len(drawn) == 4
    assert all(isinstance(one, int) and 0 <= one <= MAX_SEED for one in drawn)
    assert seed("b1", "a") == seed("b1", "a", seed=None)
    assert seed("b1", "a", seed=7) == 7
    assert seed("b1", "a", seeds=[1, 2]) is None
    assert seed("b1", "a", url="/v1/score") is None


def test_a_reader_can_be_halted(tmp_path: Path) -> None:
    with pytest.raises(lines.Halted):
        lines.check(write(tmp_path / "in", line("a")), ENDPOINT, 10, 1000, lambda: True)
