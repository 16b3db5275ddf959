"""A shard's part: the file of its answers, and beside it the rows that were refused, with the reason.

part-00042.parquet          the commit: a shard is done where it exists
_bad/part-00042.jsonl       {"row": 2113, "code": "invalid", "reason": "column 'flow': expected …"}
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO

import orjson
import pyarrow as pa
from pyarrow import parquet

from jobs.chunks import Answer, Refused, Shard
from jobs.storage import Folder

BAD = "_bad"


@dataclass(frozen=True)
class Counts:
    """What became of a shard's rows."""

    rows: int
    bad: int


def suffix(task: str) -> str:
    """Of a part's name."""
    return ".jsonl" if task == "complete" else ".parquet"


def write(output: Folder, shard: Shard, task: str, answers: Iterable[Answer]) -> Counts:
    """Write a shard's part as its answers come, and its bad rows before it takes its name."""
    bad: list[Refused] = []
    with output.writing(shard.name + suffix(task)) as file:
        stream(file, task, _noting(answers, bad))
        if bad:
            output.put(_bad_name(shard), b"".join(map(_line, bad)))
        else:
            output.remove(_bad_name(shard))
    return Counts(shard.rows, len(bad))


def stream(file: IO[bytes], task: str, answers: Iterable[Answer]) -> None:
    """Write answers as they come: the same ones, the same bytes."""
    if task == "complete":
        for answer in answers:
            file.writelines(answer.answered)
        return
    writer: parquet.ParquetWriter | None = None
    for answer in answers:
        table = answer.answered
        assert isinstance(table, pa.Table), "only completions are lines"
        if writer is None:
            writer = parquet.ParquetWriter(file, table.schema, compression="zstd")
        if len(table):
            writer.write_table(table)
    if writer is not None:
        writer.close()


def done(output: Folder, shards: Iterable[Shard], task: str) -> dict[int, Counts]:
    """The shards whose part is there, by number."""
    parts, bad = output.names(), output.names(BAD)
    return {
        shard.number: Counts(shard.rows, _lines(output, shard) if f"{shard.name}.jsonl" in bad else 0)
        for shard in shards
        if shard.name + suffix(task) in parts
    }


def _lines(output: Folder, shard: Shard) -> int:
    return (output.read(_bad_name(shard)) or b"").count(b"\n")


def _noting(answers: Iterable[Answer], bad: list[Refused]) -> Iterator[Answer]:
    for answer in answers:
        bad += answer.refused
        yield answer


def _bad_name(shard: Shard) -> str:
    return f"{BAD}/{shard.name}.jsonl"


def _line(refused: Refused) -> bytes:
    named = {} if refused.name is None else {"name": refused.name}
    said = {"row": refused.row, **named, "code": refused.error.code, "reason": refused.error.detail}
    return orjson.dumps(said, option=orjson.OPT_APPEND_NEWLINE)
