"""The command line: what it refuses, with which exit code, and what it says of a plan."""

import http.server
import json
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.cli import main
from jobs.metrics import Metrics
from tests.jobs.command import Command
from tests.toys import directories

ROWS = ("generate", "--model", directories.GENERATOR, "--rows", 20, "--shard-rows", 7)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "x.csv").write_text("a,b,c\n1,2,3\n4,5,6\n")
    return tmp_path / "x.csv"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("generate", "--model", "nobody", "--rows", 1), 2, "there is none in"),
        (("generate", "--model", "mnist-gan@9", "--rows", 1), 2, "there is none in"),
        (("score", "--model", directories.GENERATOR, "--input", "TABLE"), 2, "it cannot score; it can generate"),
        (("score", "--model", directories.TABLE, "--input", "TABLE", "--statistic", "luck"), 2, "has log_prob"),
        (("score", "--model", directories.TABLE, "--input", "TABLE", "--alpha", 0.1), 2, "no calibration"),
        (("score", "--model", directories.WRITER, "--input", "TABLE"), 1, "expected the columns 'text'"),
        (("score", "--model", directories.DENSITY, "--input", "TABLE"), 2, "takes one of .parquet"),
        (("score", "--model", directories.TABLE, "--input", "TABLE", "--keep", "id"), 1, "expected the columns 'id'"),
        (("complete", "--model", directories.WRITER, "--input", "TABLE"), 2, "takes one of .jsonl"),
        (("embed", "--model", directories.TABLE, "--input", "/nowhere/x.csv"), 1, "found none"),
        (("embed", "--model", directories.TABLE, "--input", "ftq://x/x.csv"), 2, "Protocol not known: ftq"),
        (("generate", "--model", directories.GENERATOR, "--rows", 1, "--steps", 3), 2, "has no steps"),
        (("generate", "--model", directories.GENERATOR, "--rows", 1, "--class", "cat"), 2, "is no class"),
        (("denoise", "--model", directories.DENOISER, "--input", "TABLE", "--sigma", 9), 2, "sigma: expected"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    command: Command, table: Path, arguments: tuple, code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*(table if part == "TABLE" else part for part in arguments)) == code
    assert says in capsys.readouterr().err
    assert not command.output.exists()


@pytest.mark.parametrize(
    "arguments", [("paint",), ("generate", "--rows", 0), ("generate", "--rows", "many"), ("score", "--alpha", 2)]
)
def test_a_misspelt_command_is_bad_usage(arguments: tuple, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", *map(str, arguments), "--model", "m", "--output", "o"])
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_a_dry_run_tells_what_it_would_take_and_writes_nothing(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*ROWS, "--dry-run") == 0
    said = capsys.readouterr().out
    assert "20 rows in 3 shards" in said
    assert "a worker answered 7 rows, 0 of them bad" in said
    assert not command.output.exists()


def test_the_highest_version_is_taken_unless_one_is_named(command: Command) -> None:
    for version in ("2", "10"):
        directories.write_generator(command.folder / "store", version=version, seed=int(version))
    own = Command(command.folder / "store", command.folder)
    assert own(*ROWS) == 0
    assert json.loads((own.output / "_job.json").read_text())["model"]["version"] == "10"
    assert own(*ROWS, "--model", f"{directories.GENERATOR}@2", output=command.folder / "two") == 0
    assert json.loads((command.folder / "two/_job.json").read_text())["model"]["version"] == "2"


def test_what_a_job_wrote_is_the_next_one_s_input(command: Command) -> None:
    drawn = command.folder / "drawn"
    assert command(*ROWS, output=drawn) == 0
    assert command("score", "--model", directories.DENSITY, "--input", drawn, "--keep", "label,seed") == 0
    assert command.table().column("label").to_pylist() == [i % 10 for i in range(20)]


def test_drawn_images_are_read_as_a_training_set(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(command.folder / "cache"))
    datasets = pytest.importorskip("datasets")
    assert command(*ROWS) == 0
    files = sorted(map(str, command.output.glob("*.parquet")))
    loaded = datasets.Dataset.from_parquet(files, cache_dir=str(command.folder / "cache"))
    assert loaded.features["label"].names == list(directories.DIGITS)
    assert loaded[13]["image"].size == (8, 8)
    assert [row["label"] for row in loaded] == [i % 10 for i in range(20)]


class Gateway(http.server.BaseHTTPRequestHandler):
    """Keeps what was pushed."""

    pushed: list[tuple[str, str]] = []

    def do_PUT(self) -> None:
        text = self.rfile.read(int(self.headers["content-length"])).decode()
        self.pushed.append((self.path, text))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def gateway() -> Iterator[str]:
    Gateway.pushed.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gateway) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_metrics_are_pushed(command: Command, gateway: str) -> None:
    assert command(*ROWS, "--pushgateway", gateway) == 0
    path, text = Gateway.pushed[-1]
    assert path == f"/metrics/job/amostra/model/{directories.GENERATOR}/task/generate"
    about = f'{{model="{directories.GENERATOR}",task="generate"}}'
    assert f"amostra_job_rows_total{about} 20.0" in text
    assert f"amostra_job_rows_planned{about} 20.0" in text
    assert f"amostra_job_shards_total{about} 3.0" in text


def test_a_gateway_that_is_away_is_no_reason_to_stop(command: Command) -> None:
    assert command(*ROWS, "--pushgateway", "http://127.0.0.1:9") == 0


def test_metrics_are_exposed_while_it_runs() -> None:
    metrics = Metrics("score", "m")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gateway) as free:
        port = free.server_port
    with metrics.published(port, None):
        metrics.rows.inc(5)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            assert b'amostra_job_rows_total{model="m",task="score"} 5.0' in answer.read()
