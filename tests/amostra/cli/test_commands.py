"""The command line as a user and a script see it: what is printed, saved and returned."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from amostra.cli import main
from tests.amostra.conftest import Live
from tests.eventually import eventually
from tests.service.api.client import png
from tests.service.test_imports import ROOT
from tests.toys import directories
from tests.toys.directories import DETECTOR, DIFFUSION, SAMPLER, SENSORS, TABLE, TEXT_EMBEDDER, normal_images

IMAGES = normal_images(2, seed=1)


@dataclass(frozen=True)
class Done:
    """What came of a command."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def run(live: Live, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in a folder of its own; its output is no terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AMOSTRA_URL", live.url)

    def command(*arguments: object) -> Done:
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "\x1b" not in out + err
        return Done(code, out, err)

    return command


def well(done: Done) -> str:
    assert (done.code, done.err) == (0, "")
    return done.out


def lines_of(done: Done) -> list[dict]:
    return [json.loads(line) for line in well(done).splitlines()]


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "normal.png", tmp_path / "strange.png"]
    for path, image in zip(paths, (IMAGES[0], np.zeros((1, 8, 8))), strict=True):
        path.write_bytes(png(image))
    return paths


def test_models(run: Run) -> None:
    head, *rows = well(run("models")).splitlines()
    assert re.split("  +", head) == ["model", "version", "state", "does (* by default)", "about"]
    assert "generate, denoise, edit*" in next(row for row in rows if row.startswith(DIFFUSION))
    assert [row.split()[0] for row in rows] == sorted(directories.TOYS)
    assert [model["id"] for model in json.loads(well(run("models", "--json")))] == sorted(directories.TOYS)
    assert len(json.loads(well(run("models", "--all", "--json")))) == len(directories.TOYS)
    about = well(run("models", DIFFUSION))
    assert f"{DIFFUSION}@1 (ready)" in about
    assert "dpmpp_2m, heun" in about
    assert json.loads(well(run("models", DIFFUSION, "--json")))["manifest"]["name"] == DIFFUSION


def test_draw_saves_a_sheet_and_says_its_seed(run: Run, tmp_path: Path) -> None:
    said = well(run("draw", 7, "--n", 5, "-o", "sheet.png"))
    assert Image.open(tmp_path / "sheet.png").size == (28, 18)
    assert said.startswith("5 pictures of 8 × 8 by mnist-gan, seed ")
    assert said.endswith(" → sheet.png\n")
    seed = said.split("seed ")[1].split()[0]
    (about,) = lines_of(run("--json", "draw", "--label", 7, "--n", 5, "--seed", seed, "-o", "again.png"))
    assert about == {"model": "mnist-gan", "seeds": [int(seed)], "shape": [5, 1, 8, 8], "file": "again.png"}
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "sheet.png").read_bytes()


def test_draw_saves_numbers_and_jpeg(run: Run, tmp_path: Path) -> None:
    well(run("draw", "-m", DIFFUSION, "--steps", 4, "--sampler", "heun", "--guidance", 1, "--n", 3, "-o", "a.npy"))
    assert np.load(tmp_path / "a.npy").shape == (3, 1, 8, 8)
    well(run("draw", "--seeds", 1, 2, "--n", 3, "-o", "b.jpg"))
    assert Image.open(tmp_path / "b.jpg").format == "JPEG"


def test_sample_writes_rows_that_can_be_scored(run: Run, tmp_path: Path) -> None:
    assert (
        well(run("sample", "--n", 3, "--seed", 1, "-o", "rows.csv")) == "3 rows by pendigits-flow, seed 1 → rows.csv\n"
    )
    assert (tmp_path / "rows.csv").read_text() == well(run("sample", "--n", 3, "--seed", 1))
    first = lines_of(run("sample", "--n", 3, "--seed", 1, "--json"))[0]
    assert (first["model"], first["seed"], set(first["row"])) == (SAMPLER, 1, {"pressure", "flow", "valve"})
    assert len(lines_of(run("score", "rows.csv", "-m", SENSORS, "--json"))) == 3
    assert "seed 1 → 2" in well(run("sample", "--n", 3, "--seeds", 1, 2, "-o", "way.csv"))


def test_clean_restore_and_edit(run: Run, tmp_path: Path, pictures: list[Path]) -> None:
    assert "by photo-denoiser" in well(run("clean", pictures[0], "--sigma", 0.1, "-o", "clean.png"))
    assert Image.open(tmp_path / "clean.png").size == (8, 8)
    assert "2 pictures" in well(run("clean", *pictures, "-o", "both.png"))
    well(run("restore", pictures[0], "-o", "large.png"))
    assert Image.open(tmp_path / "large.png").size == (16, 16)
    (tmp_path / "mask.png").write_bytes(png(np.tri(8)[None]))
    well(run("edit", pictures[0], 7, "--mask", "mask.png", "--n", 2, "--seed", 1, "-o", "edited.npy"))
    edited = np.load(tmp_path / "edited.npy")
    known = np.asarray(Image.open(pictures[0])) / 255
    np.testing.assert_allclose(edited[:, 0, np.tri(8) == 0], [known[np.tri(8) == 0]] * 2, atol=1e-6)


def test_score_pictures(run: Run, tmp_path: Path, pictures: list[Path]) -> None:
    table = well(run("score", *pictures, "-m", DETECTOR, "--alpha", 0.01))
    head, normal, strange = (line.split() for line in table.splitlines())
    assert head == ["item", "farthest", "p-value", "is"]
    assert (normal[0], normal[-1]) == (str(pictures[0]), "normal")
    assert (strange[0], strange[-1]) == (str(pictures[1]), "unusual")
    well(run("score", *pictures, "-m", DETECTOR, "--explain", "-o", "where.png"))
    assert Image.open(tmp_path / "where.png").mode == "RGB"
    items = lines_of(run("score", *pictures, "-m", DETECTOR, "--json", "--statistic", "log_prob", "--fdr", 0.1))
    assert [item["file"] for item in items] == list(map(str, pictures))
    assert [(item["is_anomaly"], item["statistic"]) for item in items] == [(False, "log_prob"), (True, "log_prob")]


def test_score_tables_texts_and_arrays(run: Run, tmp_path: Path) -> None:
    (tmp_path / "valves.csv").write_text("valve,pressure,flow\nopen,0.1,\nshut,-9.0,1.5\n")
    table = well(run("score", "valves.csv", "-m", SENSORS, "--explain")).splitlines()
    assert [line.split()[0] for line in table] == ["item", "valves.csv:0", "valves.csv:1"]
    head, _, strange = (re.split("  +", line) for line in table)
    assert head[-1] == "strange"
    assert strange[-1].startswith("pressure ")
    (tmp_path / "speech.txt").write_text("To be")
    texts = well(run("score", "speech.txt", "--text", "or not", "--explain"))
    assert [line[:10].strip() for line in texts.splitlines()] == ["item", "'or not'", "speech.txt"]
    np.save(tmp_path / "rows.npy", np.zeros((2, 3)))
    assert len(lines_of(run("score", "rows.npy", "-m", TABLE, "--json"))) == 2
    np.save(tmp_path / "images.npy", IMAGES)
    assert len(lines_of(run("score", "images.npy", "-m", DETECTOR, "--json"))) == 2


def test_embed(run: Run, tmp_path: Path, pictures: list[Path]) -> None:
    well(run("embed", *pictures, "-o", "vectors.npy"))
    vectors = np.load(tmp_path / "vectors.npy")
    assert vectors.shape == (2, 6)
    lines = [line.split("\t") for line in well(run("embed", *pictures)).splitlines()]
    assert [line[0] for line in lines] == list(map(str, pictures))
    np.testing.assert_allclose([[float(x) for x in line[1:]] for line in lines], vectors, rtol=1e-4, atol=1e-6)
    (item,) = lines_of(run("embed", "--text", "To be", "-m", TEXT_EMBEDDER, "--json"))
    assert (item["model"], len(item["embedding"])) == (TEXT_EMBEDDER, 6)


def test_write(run: Run) -> None:
    wishes = ("--max-tokens", 12, "--seed", 3, "--temperature", 0.5, "--top-k", 5, "--top-p", 0.9, "--stop", "\n\n")
    text = well(run("write", "To be", *wishes))
    (whole,) = lines_of(run("write", "To be", *wishes, "--json"))
    assert whole["choices"][0]["text"] == text
    assert well(run("write", "To be", *wishes, "--echo")) == "To be" + text


def test_drift(run: Run, pictures: list[Path]) -> None:
    well(run("score", *pictures, "-m", DETECTOR))
    (about,) = lines_of(run("drift", DETECTOR, "--json"))
    assert about["size"] >= 2
    shown = well(run("drift", DETECTOR))
    assert f"{about['size']} items" in shown
    assert "p ≤ 0.05" in shown


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("draw", "eleven", "-o", "a.png"), 1, r"classes are 0, 1, 2"),
        (("drift", "none"), 1, "none"),
        (("draw", "7"), 2, "say where to with -o FILE"),
        (("clean", "none.png", "-o", "a.png"), 2, "none.png"),
        (("score",), 2, "expected files or --text, found neither"),
        (("score", "odd.bin"), 2, "odd.bin: expected a picture, a table or UTF-8 text"),
        (("embed", "odd.txt", "odd.csv", "-o", "a.npy"), 2, "expected items of one kind"),
        (("draw", "-o", "a.nothing"), 2, "unknown file extension"),
        (("--url", "localhost", "models"), 2, "expected http"),
        (("--url", "http://127.0.0.1:9", "--retries", "0", "models"), 3, "is the service running"),
        (("models", "--url", "http://127.0.0.1:9", "--retries", "0"), 3, "is the service running"),
    ],
)
def test_an_error_is_one_line_with_a_remedy(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    (tmp_path / "odd.bin").write_bytes(b"\x00\xff\xfe")
    (tmp_path / "odd.txt").write_text("To be")
    (tmp_path / "odd.csv").write_text("a\n1\n")
    done = run(*arguments)
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith("amostra: ")
    assert done.err.count("\n") == 1
    assert says in done.err


def test_an_error_names_its_request(run: Run, live: Live) -> None:
    assert "(request " in run("draw", "eleven", "-o", "a.png").err


def test_too_late_is_no_answer(run: Run, live: Live) -> None:
    live.api.gate.close()
    try:
        assert run("--timeout", 0.2, "draw", "-o", "a.png").code == 3
    finally:
        live.api.gate.open()


@pytest.mark.parametrize(
    "arguments", [[], ["paint"], ["score", "--alpha", "0.1", "--fdr", "0.1", "a"], ["write", "--seed", "x"]]
)
def test_what_is_no_command_is_a_usage_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "usage: amostra" in capsys.readouterr().err


def amostra(live: Live, *arguments: str, **more: object) -> subprocess.Popen:
    """The command in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TMUX")}
    environment |= {"AMOSTRA_URL": live.url, "TERM": "xterm-256color", "COLORTERM": "truecolor", "PYTHONUTF8": "1"}
    command = [sys.executable, "-m", "amostra", *arguments]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, **more)  # type: ignore[call-overload]


def test_pictures_go_into_a_pipe(live: Live) -> None:
    process = amostra(live, "draw", "7", "--seed", "1", "-o", "-", stdout=subprocess.PIPE)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert out.startswith(b"\x89PNG")
    assert b"seed 1" in err


def test_a_reader_who_has_had_enough_is_no_error(live: Live) -> None:
    process = amostra(live, "write", "--max-tokens", "500", stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read(1)
    process.stdout.close()
    assert process.wait(30) == 1
    assert process.stderr is not None
    assert process.stderr.read() == b""


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A shell starts what goes to the background with SIGINT ignored, and so would be all that the tests start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interruption_ends_the_work_too(live: Live) -> None:
    process = amostra(live, "write", "--max-tokens", "500", stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read(1)
    live.api.gate.close()
    try:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    finally:
        live.api.gate.open()
    assert (process.returncode, err) == (130, b"")
    eventually(lambda: not live.api.engine.live)


def test_in_a_terminal_pictures_are_seen(live: Live, tmp_path: Path) -> None:
    ours, its = pty.openpty()
    process = amostra(live, "draw", "7", "--seed", "1", stdout=its)
    os.close(its)
    seen = b""
    try:
        while part := os.read(ours, 65_536):
            seen += part
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.wait(30) == 0
    assert seen.decode().count("▀") == 8 * 4
    assert "1 picture of 8 × 8 by mnist-gan, seed 1" in seen.decode()
