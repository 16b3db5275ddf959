"""A worker: one process with the service's engine, that answers one shard after another."""

import logging
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import orjson
import pyarrow as pa

from jobs import models, parts
from jobs.chunks import Answer, Shard, Source
from jobs.engine import InProcess
from jobs.errors import JobError, JobFailed
from jobs.job import Job
from jobs.storage import folder
from jobs.tasks import ANSWERS
from service.errors import AmostraError
from service.model import LoadedModel

log = logging.getLogger("amostra.jobs")


class Worker:
    """Answers shards of one job."""

    def __init__(self, job: Job, source: Source, model: LoadedModel | None = None) -> None:
        # One core is its share: the decoders' threads would take the others'.
        pa.set_cpu_count(1)
        self._job = job
        self._source = source
        self._settings = models.settings_of(job)
        self._engine = InProcess(model or models.load(job), self._settings)
        self._engine.start()

    def answers(self, shard: Shard) -> Iterator[Answer]:
        """The answers of a shard's rows, as they come."""
        return ANSWERS[self._job.task](self._engine, self._settings, self._job, self._source.read(shard))

    def answer(self, shard: Shard) -> parts.Counts:
        """Answer a shard, and write its part. Raises JobFailed where the input, the output or the service's code fails."""
        try:
            return parts.write(folder(self._job.output), shard, self._job.task, self.answers(shard))
        except (AmostraError, OSError) as error:
            raise JobFailed(f"{shard.name}: {error}") from error

    def stop(self) -> None:
        """End the engine's threads."""
        self._engine.stop()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Ray Data's way to ask: a batch of shards, as `packed` has them. An error is an answer too, for a retry of what
        cannot succeed would hide it."""
        found: dict[str, list[Any]] = {"number": [], "rows": [], "bad": [], "failure": []}
        for text in batch["shard"]:
            shard = unpacked(text)
            counts, failure = parts.Counts(0, 0), ""
            try:
                counts = self.answer(shard)
            except JobError as error:
                failure = str(error)
            except Exception as error:
                log.exception("shard %d failed", shard.number)
                failure = f"{shard.name}: {type(error).__name__}: {error}"
            for name, value in zip(found, (shard.number, counts.rows, counts.bad, failure), strict=True):
                found[name].append(value)
        return found


def packed(shard: Shard) -> str:
    """A shard as a value of a column."""
    return orjson.dumps(asdict(shard)).decode()


def unpacked(text: str) -> Shard:
    """What `packed` made a text of."""
    values = orjson.loads(text)
    return Shard(**{**values, "names": tuple(values["names"])})
