"""The command line as a user has it, in this process, and what it wrote."""

from dataclasses import dataclass
from pathlib import Path

import orjson
import pyarrow as pa
from pyarrow import parquet

from jobs.cli import main


@dataclass(frozen=True)
class Command:
    """`python -m jobs run` with models of a store, and one worker where nothing else is said."""

    store: Path
    folder: Path

    @property
    def output(self) -> Path:
        return self.folder / "out"

    def __call__(self, task: str, *arguments: object, output: Path | str | None = None, workers: int = 1) -> int:
        given = ["--models", self.store, "--output", output or self.output, "--workers", workers, *arguments]
        return main(["run", task, *map(str, given)])

    def table(self, output: Path | None = None) -> pa.Table:
        """All parts of an output, in order."""
        parts = sorted((output or self.output).glob("part-*.parquet"))
        return pa.concat_tables([parquet.read_table(part) for part in parts])

    def lines(self, pattern: str = "part-*.jsonl") -> list[dict]:
        """All lines of JSON parts, or of the bad rows, in order."""
        return [orjson.loads(line) for part in sorted(self.output.glob(pattern)) for line in part.open("rb")]


def bytes_of(output: Path) -> dict[str, bytes]:
    """Every file of an output, by name."""
    return {str(file.relative_to(output)): file.read_bytes() for file in output.rglob("*") if file.is_file()}
