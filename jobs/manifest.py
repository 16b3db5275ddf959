"""`_job.json` in the output's folder: what was asked of what, so that only the same job goes on there.

It holds no time and no machine: an output is a function of what stands in it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnxruntime
import orjson
import pyarrow as pa

from jobs.chunks import Shard
from jobs.errors import BadUsage
from jobs.job import Job
from jobs.sources import Input
from jobs.storage import Folder
from service.model import Card

NAME = "_job.json"
DONE = "_SUCCESS"
"""An empty file that says that all parts are there, as Hadoop and Spark write it."""


def describe(job: Job, card: Card, found: Input, shards: Sequence[Shard]) -> dict[str, Any]:
    """What an output follows from."""
    return {
        "task": job.task,
        "model": {
            "name": card.id,
            "version": card.version,
            "content": card.content,
            "files": {ref.file: ref.sha256 for ref in card.manifest.files()},
        },
        "seed": job.seed,
        "parameters": {name: value for name, value in sorted(job.parameters.items()) if value is not None},
        "input": {"files": found.files, "rows": sum(s.rows for s in shards), "fingerprint": found.fingerprint},
        "shards": {"count": len(shards), "rows": job.rows_of_shard},
        "device": job.device,
        "versions": {
            "numpy": np.__version__,
            "onnxruntime": onnxruntime.__version__,
            "pyarrow": pa.__version__,
        },
    }


def claim(output: Folder, described: dict[str, Any]) -> bool:
    """Begin in an empty folder, or go on in one of the same job. Returns whether it goes on. Raises BadUsage."""
    before = output.read(NAME)
    if before is None:
        if strange := sorted(output.names())[:3]:
            raise BadUsage(
                f"--output {output.path}: expected a folder that is empty or of the same job, found "
                f"{', '.join(strange)}: choose another"
            )
        output.put(NAME, orjson.dumps(described, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        return False
    try:
        known = orjson.loads(before)
    except orjson.JSONDecodeError as error:
        raise BadUsage(f"--output {output.path}: {NAME} is no JSON: choose another folder") from error
    differences = [f"{name} was {was}, is {now}" for name, was, now in _differences("", known, described)]
    if differences:
        raise BadUsage(
            f"--output {output.path} holds another job: {'; '.join(differences)}: ask for the same to go on with it, or "
            f"choose another folder"
        )
    return True


def _differences(name: str, was: Any, now: Any) -> Iterator[tuple[str, str, str]]:
    if isinstance(was, dict) and isinstance(now, dict):
        for key in dict.fromkeys((*was, *now)):
            yield from _differences(f"{name}.{key}".lstrip("."), was.get(key), now.get(key))
    elif was != now:
        yield name, _said(was), _said(now)


def _said(value: Any) -> str:
    return "not said" if value is None else f"{value!r:.80}"
