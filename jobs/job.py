"""A job: what the command line asks for. Whatever is in it can be sent to a worker on another machine."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROWS = {"score": 50_000, "embed": 10_000, "denoise": 500, "generate": 1_000, "complete": 200}
"""Rows of a shard, by task: a part file each, and what an interruption costs at most is one a worker."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """`parameters` are the task's own; what is beside them does not change a row's result.

    `shard_rows` does not either, but it names the part files. `device` is "cpu" or "cuda".
    """

    task: str
    model: str
    store: Path
    output: str
    input: str | None = None
    rows: int = 0
    seed: int = 0
    device: str = "cpu"
    shard_rows: int = 0
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def rows_of_shard(self) -> int:
        return self.shard_rows or ROWS[self.task]
