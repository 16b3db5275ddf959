"""A batch job as a process of its own, and what it is measured on: rows of 20 columns, and a model of them."""

import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import torch
from pyarrow import parquet

from benchmarks.models import table_model
from benchmarks.processes import family
from benchmarks.stamps import graphs
from benchmarks.table_rows import NEIGHBOURS, UNSEEN, rows

KNOWN = 5_000
MODEL = "rows-knn"
_PIECE = 100_000
_SUMMARY = re.compile(r"; ([\d.]+) s, [\d,]+ rows/s$", re.MULTILINE)


@dataclass(frozen=True)
class Ran:
    """What a job took: by its own summary, by the clock from its start to its end, and the most memory of all its
    processes, in MiB (proportional set size), where it was watched."""

    seconds: float
    whole_seconds: float
    mebibytes: float


@dataclass(frozen=True)
class Bench:
    """A folder with a store, and files of rows by their number."""

    home: Path

    def file(self, count: int) -> Path:
        """A Parquet file of so many rows, as pyarrow writes it by default: in one row group up to a million."""
        path = self.home / f"rows-{count}.parquet"
        if not path.exists():
            parts = [rows(min(_PIECE, count - first), first + 2, UNSEEN) for first in range(0, count, _PIECE)]
            columns = zip(*(part.T for part in parts), strict=True)
            arrays = {f"x{i}": pa.chunked_array([pa.array(c) for c in column]) for i, column in enumerate(columns)}
            parquet.write_table(pa.table(arrays), path)
        return path

    def graph(self) -> Path:
        """The model's ONNX file."""
        (found,) = (self.home / "store" / MODEL).glob("*/score.onnx")
        return found

    def graphs(self) -> dict[str, str]:
        """The same by its name, with the first digits of its hash."""
        return graphs(self.graph().parent)

    def command(self, count: int, output: Path, workers: int, *more: object) -> list[str]:
        """The command that scores so many rows."""
        given = ["--models", self.home / "store", "--model", MODEL, "--input", self.file(count), "--output", output]
        given += ["--workers", workers, "--quiet", *more]
        return [sys.executable, "-m", "jobs", "run", "score", *map(str, given)]

    def run(
        self,
        count: int,
        workers: int,
        output: Path | None = None,
        cores: int | None = None,
        *,
        watched: bool = False,
    ) -> Ran:
        """Score so many rows, on all cores or on so many, into a folder that is removed where none is said.

        Memory is `watched` where no rate is taken: to look at a dozen processes of Ray's takes a good part of a core.
        """
        with tempfile.TemporaryDirectory(dir=self.home) as folder:
            start = time.perf_counter()
            command = self.command(count, output or Path(folder, "out"), workers)
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            os.sched_setaffinity(process.pid, sorted(os.sched_getaffinity(0))[:cores])
            with _watched(process.pid) if watched else nullcontext([0.0]) as peak:
                said, _ = process.communicate()
            whole = time.perf_counter() - start
        found = _SUMMARY.search(said)
        if process.returncode or found is None:
            raise RuntimeError(f"the job ended with {process.returncode} and said {said!r}")
        return Ran(float(found[1]), whole, max(peak))


@contextmanager
def bench() -> Iterator[Bench]:
    """A model of KNOWN rows: the mean distance to the five nearest."""
    with tempfile.TemporaryDirectory() as home:
        table_model(Path(home, "store"), torch.from_numpy(rows(KNOWN, 1, UNSEEN)), "knn", NEIGHBOURS)
        yield Bench(Path(home))


@contextmanager
def _watched(pid: int) -> Iterator[list[float]]:
    """The memory of a process and all its descendants, ten times a second."""
    found, over = [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            found.append(sum(map(_mebibytes, family(pid))))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def _mebibytes(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    found = re.search(r"^Pss: +(\d+) kB", text, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0
