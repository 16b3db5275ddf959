"""Calibration on a user's own data: the server's p-values of that very data are evenly spread."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from PIL import Image

from contract import read_manifest
from service.codecs.columns import from_objects
from service.loading import load_model
from service.settings import Settings
from service.tasks.score import score_samples, score_texts
from service.tasks.tokens import tokenize
from tests.service.tasks.drive import drive, on
from tests.toys import directories
from training.__main__ import main

COUNT = 60


def p_values(directory: Path, items: np.ndarray | list[str]) -> np.ndarray:
    """By the first statistic."""
    model = load_model(directory, Settings(models=directory.parents[1], provider="cpu"), "cpu")
    if isinstance(items, list):
        return drive(score_texts(model, tokenize(model, items, 1000)), on(model)).p_values[:, 0]
    return drive(score_samples(model, items), on(model)).p_values[:, 0]


def evenly(count: int) -> np.ndarray:
    """Of items that are the calibration set themselves: each counts itself."""
    return np.arange(2, count + 2) / (count + 1)


@pytest.mark.parametrize("write", [directories.write_density, directories.write_detector])
def test_images_from_a_folder(tmp_path: Path, write, capsys) -> None:
    directory = write(tmp_path / "store")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    levels = np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8)).astype(np.uint8)
    for i, picture in enumerate(levels):
        Image.fromarray(picture).save(pictures / f"{i}.png")
    before = read_manifest(directory).calibration
    assert main(["calibrate", str(directory), "--data", str(pictures)]) == 0
    assert "60 items; the smallest p-value is 0.016" in capsys.readouterr().out
    after = read_manifest(directory)
    assert after.calibration.size == COUNT
    assert {p.name for p in directory.iterdir()} == {"manifest.json", *(ref.file for ref in after.files())}
    assert before.scores.file not in {p.name for p in directory.iterdir()}
    images = (levels / 255).astype(np.float32)[:, None]
    assert np.sort(p_values(directory, images)) == pytest.approx(evenly(COUNT), abs=1e-9)


def test_rows_of_an_array_and_a_limit(tmp_path: Path) -> None:
    directory = directories.write_table(tmp_path / "store")
    rows = np.random.default_rng(1).normal(0.5, 1, (COUNT, 3)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    assert main(["calibrate", str(directory), "--data", str(tmp_path / "rows.npy"), "--size", "20"]) == 0
    assert np.sort(p_values(directory, rows[:20])) == pytest.approx(evenly(20))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_rows_of_a_table_by_their_columns(tmp_path: Path, suffix: str) -> None:
    directory = directories.write_sensors(tmp_path / "store")
    rng = np.random.default_rng(3)
    flow = rng.normal(0.5, 1, COUNT).round(3).tolist()
    flow[4] = None
    rows = pa.table(
        {"valve": rng.choice(["open", "shut"], COUNT), "flow": flow, "pressure": rng.normal(0.5, 1, COUNT).round(3)}
    )
    path = tmp_path / f"normal{suffix}"
    (pa.csv.write_csv if suffix == ".csv" else pa.parquet.write_table)(rows, path)
    assert main(["calibrate", str(directory), "--data", str(path)]) == 0
    model = load_model(directory, Settings(models=directory.parents[1], provider="cpu"), "cpu")
    vectors = from_objects(rows.to_pylist(), model.manifest.data.columns, "rows")
    assert np.sort(p_values(directory, vectors)) == pytest.approx(evenly(COUNT))


@pytest.mark.parametrize(
    ("header", "row", "says"),
    [
        ("pressure,flow", "1,2", "no column 'valve'"),
        ("pressure,flow,valve", "1,2,stuck", "column 'valve': expected one of 'open', 'shut', found 'stuck'"),
        ("pressure,flow,valve", ",2,open", "column 'pressure': expected a value"),
    ],
)
def test_a_table_with_other_columns_or_values_is_refused(tmp_path: Path, header: str, row: str, says: str, capsys):
    directory = directories.write_sensors(tmp_path / "store")
    before = (directory / "manifest.json").read_bytes()
    (tmp_path / "rows.csv").write_text(f"{header}\n{row}\n")
    assert main(["calibrate", str(directory), "--data", str(tmp_path / "rows.csv")]) == 2
    assert says in capsys.readouterr().err
    assert (directory / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("write", [directories.write_writer, directories.write_lines])
def test_lines_of_a_text(tmp_path: Path, write) -> None:
    directory = write(tmp_path / "store")
    rng = np.random.default_rng(2)
    lines = ["".join(rng.choice(list("abcdefgh "), length)) + "." for length in rng.integers(3, 70, COUNT)]
    (tmp_path / "log.txt").write_text("\n".join(lines) + "\n\n")
    assert main(["calibrate", str(directory), "--data", str(tmp_path / "log.txt")]) == 0
    assert np.sort(p_values(directory, lines)) == pytest.approx(evenly(COUNT))


WRONG = {
    "nothing there": (lambda path: None, "expected a file or a folder"),
    "no number": (lambda path: np.save(path, np.full((3, 3), np.nan)), "finite numbers"),
    "another width": (lambda path: np.save(path, np.zeros((3, 4))), "expected rows of 3 numbers, found [3, 4]"),
    "no items": (lambda path: np.save(path, np.zeros((0, 3))), "expected normal items to calibrate on, found none"),
    "no array": (lambda path: path.write_bytes(b"hello"), "data.npy"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_used_changes_nothing(tmp_path: Path, case: str, capsys) -> None:
    directory = directories.write_table(tmp_path / "store")
    before = {p.name: p.read_bytes() for p in directory.iterdir()}
    write, says = WRONG[case]
    write(tmp_path / "data.npy")
    assert main(["calibrate", str(directory), "--data", str(tmp_path / "data.npy")]) == 2
    assert says in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in directory.iterdir()} == before
