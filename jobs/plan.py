"""The plan: the model, the input, and the shards that it is cut into, whatever the number of workers."""

from collections.abc import Sequence
from dataclasses import dataclass

from jobs import models, sources
from jobs.chunks import Shard
from jobs.errors import BadUsage, JobFailed
from jobs.job import Job
from jobs.sources import Input
from jobs.storage import folder
from jobs.tasks import CHECKS
from service.errors import AmostraError
from service.model import LoadedModel


@dataclass(frozen=True)
class Plan:
    """What a job will do, from its input alone."""

    job: Job
    model: LoadedModel
    found: Input
    shards: Sequence[Shard]

    @property
    def rows(self) -> int:
        return sum(shard.rows for shard in self.shards)


def plan(job: Job) -> Plan:
    """Load the model, look at the input, cut it into shards. Raises BadUsage or JobFailed."""
    model = models.load(job)
    try:
        CHECKS.get(job.task, lambda model, job: None)(model, job)
    except AmostraError as error:
        raise BadUsage(error.detail) from error
    if job.input is not None and folder(job.output).within(folder(job.input)):
        raise BadUsage(
            f"--output {job.output}: it stands in the input's folder, and would change it: choose another folder"
        )
    found = sources.find(job, model)
    try:
        shards = list(found.source.shards(job.rows_of_shard))
    except OSError as error:
        raise JobFailed(f"--input {job.input}: it cannot be read: {error}") from error
    if not shards:
        raise JobFailed(f"--input {job.input}: expected at least one row, found none")
    return Plan(job, model, found, shards)
