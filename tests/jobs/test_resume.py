"""A job goes on where it stood, and only the same job does; whatever interrupts it, the output is the same."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.jobs.command import Command, bytes_of
from tests.toys import directories

ROWS = ("generate", "--model", directories.GENERATOR, "--rows", 60, "--shard-rows", 7)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(100, 3)))
    return tmp_path / "x.npy"


def test_what_is_done_is_not_done_again(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(*ROWS) == 0
    whole = bytes_of(command.output)
    assert "60 rows, none bad" in capsys.readouterr().out
    for name in ("part-00003.parquet", "part-00008.parquet", "_SUCCESS"):
        (command.output / name).unlink()
    (command.output / "_unfinished").mkdir()
    (command.output / "_unfinished" / "part").write_bytes(b"half")
    times = {file: file.stat().st_mtime_ns for file in command.output.glob("part-*")}
    assert command(*ROWS) == 0
    assert "60 rows, 49 of them before" in capsys.readouterr().out
    assert bytes_of(command.output) == whole
    assert all(file.stat().st_mtime_ns == then for file, then in times.items())
    assert command(*ROWS) == 0
    assert "60 rows, 60 of them before" in capsys.readouterr().out


def test_the_rows_do_not_depend_on_the_shards(command: Command) -> None:
    assert command(*ROWS) == 0
    assert command(*ROWS[:-1], 25, output=command.folder / "other") == 0
    assert command.table().equals(command.table(command.folder / "other"))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (("--seed", 2), "seed was 0, is 2"),
        (("--label", 3), "parameters.label was not said, is 3"),
        (("--rows", 61), "input.rows was 60, is 61"),
        (("--shard-rows", 8), "shards.rows was 7, is 8"),
        (("--model", directories.DIFFUSION), f"model.name was '{directories.GENERATOR}', is '{directories.DIFFUSION}'"),
    ],
)
def test_another_job_is_refused_with_what_differs(
    command: Command, changed: tuple, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*ROWS) == 0
    assert command(*ROWS, *changed) == 2
    assert says in capsys.readouterr().err


def test_another_input_is_refused(command: Command, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("embed", "--model", directories.TABLE, "--input", table)
    assert command(*asked) == 0
    os.utime(table, (1, 1))
    assert command(*asked) == 2
    assert "input.fingerprint was" in capsys.readouterr().err


def test_a_model_of_the_same_name_is_refused(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    stores = [command.folder / name for name in ("a", "b")]
    for seed, store in enumerate(stores):
        directories.write_generator(store, seed=seed)
    assert Command(stores[0], command.folder)(*ROWS) == 0
    assert Command(stores[1], command.folder)(*ROWS) == 2
    assert "model.files.decode.onnx was" in capsys.readouterr().err


def test_a_folder_of_something_else_is_refused(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    command.output.mkdir()
    (command.output / "thesis.tex").write_text("years of work")
    assert command(*ROWS) == 2
    assert "found thesis.tex: choose another" in capsys.readouterr().err


def test_an_output_among_the_input_is_refused(
    command: Command, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("embed", "--model", directories.TABLE, "--input", table.parent, output=table.parent) == 2
    assert "choose another folder" in capsys.readouterr().err


def started(command: Command, *arguments: object, output: Path) -> subprocess.Popen:
    given = ["run", *arguments, "--models", command.store, "--output", output, "--workers", 1]
    return subprocess.Popen(
        [sys.executable, "-m", "jobs", *map(str, given)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def parts(output: Path) -> int:
    return len(list(output.glob("part-*")))


def test_a_kill_at_any_moment_leaves_nothing_that_a_second_run_would_not_make(command: Command) -> None:
    slow = ("generate", "--model", directories.PIXELS, "--rows", 300, "--shard-rows", 10)
    assert command(*slow, output=command.folder / "whole") == 0
    chance = random.Random(1)
    for wanted in (1, 8, 16):
        process = started(command, *slow, output=command.output)
        until = time.monotonic() + 60
        while parts(command.output) < wanted and time.monotonic() < until:
            time.sleep(0.002)
        time.sleep(chance.random() * 0.02)
        process.kill()
        process.wait()
    assert wanted <= parts(command.output) < 30
    assert command(*slow) == 0
    assert bytes_of(command.output) == bytes_of(command.folder / "whole")


def test_sigterm_ends_it_with_an_exit_code_of_its_own(command: Command) -> None:
    slow = ("generate", "--model", directories.PIXELS, "--rows", 2000, "--shard-rows", 10)
    process = started(command, *slow, output=command.output)
    until = time.monotonic() + 60
    while not parts(command.output) and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 75
    assert not (command.output / "_SUCCESS").exists()
