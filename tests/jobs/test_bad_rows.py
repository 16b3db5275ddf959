"""Rows that cannot be answered go to a file beside the answers, with the reason, and the others are answered."""

from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.jobs.command import Command
from tests.service.api.client import png
from tests.toys import directories

BAD = "_bad/part-*.jsonl"


@pytest.fixture
def valves(tmp_path: Path) -> Path:
    """A hundred rows of which five are bad, in as many ways."""
    count = 100
    pressure: list[float | None] = np.random.default_rng(0).normal(size=count).tolist()
    flow: list[float | None] = [None if i % 7 == 0 else 0.5 for i in range(count)]
    valve = ["open" if i % 3 else "shut" for i in range(count)]
    pressure[10], pressure[20], pressure[30], flow[40], valve[50] = None, float("nan"), 1e300, float("inf"), "ajar"
    file = tmp_path / "valves.parquet"
    parquet.write_table(pa.table({"id": range(count), "valve": valve, "pressure": pressure, "flow": flow}), file)
    return file


def test_rows_of_a_table(command: Command, valves: Path) -> None:
    asked = ("score", "--model", directories.SENSORS, "--input", valves, "--shard-rows", 25)
    assert command(*asked) == 0
    refused = {line["row"]: line["reason"] for line in command.lines(BAD)}
    assert sorted(refused) == [10, 20, 30, 40, 50]
    for row, column in ((10, "pressure"), (20, "pressure"), (30, "pressure"), (40, "flow"), (50, "valve")):
        assert refused[row].startswith(f"column '{column}': expected"), refused[row]
    assert "'open', 'shut', found 'ajar'" in refused[50]
    assert command.table().column("row").to_pylist() == [row for row in range(100) if row not in refused]


def test_a_row_s_scores_are_the_same_beside_bad_ones(command: Command, valves: Path) -> None:
    asked = ("score", "--model", directories.SENSORS)
    assert command(*asked, "--input", valves) == 0
    beside = command.table()
    table = parquet.read_table(valves)
    good = command.folder / "good.parquet"
    parquet.write_table(table.take(beside.column("row")), good)
    assert command(*asked, "--input", good, output=command.folder / "good") == 0
    assert command.table(command.folder / "good").column("score").equals(beside.column("score"))


def test_rows_of_csv(command: Command) -> None:
    csv = command.folder / "valves.csv"
    csv.write_text("valve,flow,pressure,id\nopen,0.5,0.25,7\n shut ,,1,8\najar,1,2,9\nopen,1\nopen,,NA,10\n")
    assert command("score", "--model", directories.SENSORS, "--input", csv, "--keep", "id") == 0
    assert command.table().select(["row", "id"]).to_pylist() == [{"row": 0, "id": "7"}, {"row": 1, "id": "8"}]
    assert [line["row"] for line in command.lines(BAD)] == [2, 3, 4]


def test_more_than_are_allowed_end_the_job_and_allowing_more_goes_on(
    command: Command, valves: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("score", "--model", directories.SENSORS, "--input", valves, "--shard-rows", 15)
    assert command(*asked, "--max-bad-rows", 1) == 3
    assert "--max-bad-rows allows 1" in capsys.readouterr().err
    assert not (command.output / "_SUCCESS").exists()
    assert len(list(command.output.glob("part-*"))) < 7
    assert command(*asked, "--max-bad-rows", 1) == 3
    assert command(*asked, "--max-bad-rows", 5) == 0
    assert (command.output / "_SUCCESS").exists()
    assert len(command.lines(BAD)) == 5


def test_a_job_without_one_good_row_has_failed(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    file = command.folder / "lines.txt"
    file.write_text("ÄÖÜ\n###\n")
    assert command("score", "--model", directories.WRITER, "--input", file) == 3
    assert "none of 2 rows could be answered" in capsys.readouterr().err
    assert "'Ä' at position 0 is not in the vocabulary" in command.lines(BAD)[0]["reason"]


def test_pictures(command: Command) -> None:
    folder = command.folder / "pictures"
    folder.mkdir()
    (folder / "good.png").write_bytes(png(np.full((1, 8, 8), 0.5)))
    (folder / "large.png").write_bytes(png(np.full((1, 9, 8), 0.5)))
    (folder / "none.png").write_bytes(b"no picture")
    assert command("score", "--model", directories.DENSITY, "--input", folder) == 0
    refused = {line["name"]: line["reason"] for line in command.lines(BAD)}
    assert "expected an image of 1 × 8 × 8" in refused["large.png"]
    assert "expected a whole PNG or JPEG" in refused["none.png"]
    assert command.table().column("file").to_pylist() == ["good.png"]


def test_numbers_of_an_array(command: Command) -> None:
    values = np.zeros((50, 3), np.float64)
    values[17, 1] = np.nan
    np.save(command.folder / "x.npy", values)
    assert command("embed", "--model", directories.TABLE, "--input", command.folder / "x.npy") == 0
    assert [line["row"] for line in command.lines(BAD)] == [17]
    assert len(command.table()) == 49


def test_requests(command: Command) -> None:
    def line(custom_id: str, **body: object) -> bytes:
        return orjson.dumps({"custom_id": custom_id, "method": "POST", "url": "/v1/completions", "body": body})

    given = [
        line("a", prompt="To be", max_tokens=2),
        b"{",
        line("c", prompt="ÄÖ"),
        line("d", prompt="x", model="another"),
        line("e", prompt="x", temperature=-1),
        line("f", prompt="a", stream=True),
        b'{"custom_id": "g", "url": "/v1/embeddings", "body": {}}',
        line("h", prompt="hello", max_tokens=1),
    ]
    file = command.folder / "asked.jsonl"
    file.write_bytes(b"\n".join(given))
    assert command("complete", "--model", directories.WRITER, "--input", file) == 0
    assert [found["custom_id"] for found in command.lines()] == ["a", "h"]
    refused = {found["row"]: found for found in command.lines(BAD)}
    assert {row: found.get("name") for row, found in refused.items()} == {
        1: None,
        2: "c",
        3: "d",
        4: "e",
        5: "f",
        6: None,
    }
    reasons = [refused[row]["reason"] for row in (1, 2, 3, 4, 5, 6)]
    for reason, says in zip(reasons, ("JSON", "'Ä'", "model", "temperature", "stream", "url"), strict=True):
        assert says in reason
