"""Where rows come from: one file for each kind of file, and what a URI means.

Files whose names, or whose folders' names, begin with a dot or an underscore are left out, so that what a job wrote can
be the next one's input.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.chunks import Source
from jobs.errors import BadUsage, JobFailed
from jobs.job import Job
from jobs.sources.arrays import ArraySource
from jobs.sources.csv import CsvSource
from jobs.sources.lines import LineSource
from jobs.sources.numbers import NumberSource
from jobs.sources.parquet import ParquetSource
from jobs.sources.pictures import PictureSource
from jobs.storage import file_system
from service.codecs.columns import columns_of
from service.model import Card

FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".npy": "npy",
    ".txt": "lines",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".png": "pictures",
    ".jpg": "pictures",
    ".jpeg": "pictures",
}
_TAKES = {
    "vector": ("parquet", "csv", "npy"),
    "image": ("pictures", "parquet", "npy"),
    "text": ("lines", "parquet", "csv"),
}


@dataclass(frozen=True)
class Input:
    """The files that a job reads, and what they were when it began: a hash of their names, sizes and marks.

    The mark is an object's tag, or the time of a file's last change.
    """

    source: Source
    files: int
    fingerprint: str


def find(job: Job, card: Card) -> Input:
    """The job's input. Raises BadUsage for one that the task or the model has no use for, JobFailed for none."""
    if job.input is None:
        return Input(NumberSource(job.rows), 0, "")
    fs, root = file_system(job.input)
    found = sorted(_files(fs, root.rstrip("/")), key=lambda about: about["name"])
    kinds = {FORMATS.get(_suffix(about["name"]), _suffix(about["name"]) or "no suffix") for about in found}
    if not found:
        raise JobFailed(f"--input {job.input}: expected a file, a folder of files or a pattern, found none")
    takes = ("jsonl",) if job.task == "complete" else _TAKES[card.manifest.data.kind]
    if len(kinds) > 1 or not kinds <= set(takes):
        raise BadUsage(
            f"--input {job.input}: {job.task} with model {card.id} takes one of {_suffixes(takes)}, found "
            f"{', '.join(sorted(kinds))}: name the files with a pattern, or convert them"
        )
    marks = [[about["name"].removeprefix(root), about["size"], _mark(about)] for about in found]
    fingerprint = hashlib.sha256(json.dumps(marks).encode()).hexdigest()
    names = [about["name"] for about in found]
    return Input(_source(kinds.pop(), job, card, fs, root, names), len(names), fingerprint)


def _source(kind: str, job: Job, card: Card, fs: Any, root: str, names: Sequence[str]) -> Source:
    data = card.manifest.data
    kept = tuple(job.parameters.get("keep") or ())
    column = job.parameters.get("column") or data.kind
    columns = tuple(c.name for c in columns_of(data)) if data.kind == "vector" else (column,)
    if kind == "parquet":
        return ParquetSource(fs, names, columns, kept)
    if kind == "csv":
        return CsvSource(fs, names, columns, kept)
    if kept or job.parameters.get("column"):
        raise BadUsage(f"--keep and --column: {job.input} has no columns: leave them out")
    if kind == "npy":
        return ArraySource(fs, names)
    if kind == "pictures":
        return PictureSource(fs, root.rstrip("/"), names)
    return LineSource(fs, names)


def _files(fs: Any, root: str) -> Iterator[dict[str, Any]]:
    """What is known of each file that a path, a folder or a pattern means."""
    fs.invalidate_cache()
    try:
        if any(sign in root for sign in "*?["):
            found = fs.glob(root, detail=True).values()
            yield from (about for about in found if about["type"] == "file")
        elif fs.isfile(root):
            yield fs.info(root)
        else:
            for name, about in fs.find(root, detail=True).items():
                parts = name.removeprefix(root).strip("/").split("/")
                if about["type"] == "file" and not any(part.startswith((".", "_")) for part in parts):
                    yield about
    except OSError as error:
        raise JobFailed(f"--input {root}: it cannot be listed: {error}") from error


def _mark(about: dict[str, Any]) -> str:
    known = (about.get(name) for name in ("ETag", "etag", "md5Hash", "content_md5", "mtime", "LastModified", "created"))
    return str(next((mark for mark in known if mark is not None), ""))


def _suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition("/")[2].rpartition(".")
    return dot + suffix.lower() if stem else ""


def _suffixes(kinds: Sequence[str]) -> str:
    return ", ".join(suffix for suffix, kind in FORMATS.items() if kind in kinds)
