"""Runs a job: plan, claim the output, have the shards answered, say that it is done."""

import math
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from jobs import cluster, manifest, parts
from jobs.chunks import Shard
from jobs.errors import TooManyBadRows
from jobs.job import Job
from jobs.metrics import Metrics
from jobs.parts import Counts
from jobs.plan import Plan, plan
from jobs.progress import Progress
from jobs.storage import folder


@dataclass(frozen=True)
class Terms:
    """How a job is run, which changes no byte of its output."""

    workers: cluster.Workers
    max_bad_rows: int | None = None
    quiet: bool = False
    metrics_port: int | None = None
    gateway: str | None = None


@dataclass(frozen=True)
class Summary:
    """What a run did. `rows` and `bad` are the whole output's, `new` the rows of this run, in `seconds`."""

    rows: int
    bad: int
    new: int
    seconds: float

    def __str__(self) -> str:
        rate = self.new / self.seconds if self.seconds else math.nan
        before = f", {self.rows - self.new:,} of them before" if self.new < self.rows else ""
        bad = f"{self.bad:,} bad" if self.bad else "none bad"
        return f"{self.rows:,} rows{before}, {bad}; {self.seconds:.1f} s, {rate:,.0f} rows/s"


def run(job: Job, terms: Terms) -> Summary:
    """Do what is not done yet. Raises JobError."""
    planned = plan(job)
    output = folder(job.output)
    manifest.claim(output, manifest.describe(job, planned.model, planned.found, planned.shards))
    done = parts.done(output, planned.shards, job.task)
    left = [shard for shard in planned.shards if shard.number not in done]
    before = Counts(sum(c.rows for c in done.values()), sum(c.bad for c in done.values()))
    metrics = Metrics(job.task, planned.model.id)
    metrics.shards_planned.set(len(planned.shards))
    metrics.workers.set(terms.workers.count)
    progress = Progress(metrics, planned.rows, before, terms.quiet, terms.gateway)
    start = time.monotonic()
    try:
        with metrics.published(terms.metrics_port, terms.gateway):
            _check_bad(progress, terms)
            if left:
                output.clear_unfinished()
                _answer(planned, left, terms, progress)
            if progress.all_bad == planned.rows:
                raise TooManyBadRows(f"none of {planned.rows} rows could be answered: {_where(job)} says why")
            output.put(manifest.DONE, b"")
            output.clear_unfinished()
            metrics.finished.set_to_current_time()
    finally:
        progress.close()
    return Summary(planned.rows, progress.all_bad, progress.rows, time.monotonic() - start)


def _answer(planned: Plan, left: Sequence[Shard], terms: Terms, progress: Progress) -> None:
    with closing(cluster.answered(planned, left, terms.workers)) as answered:
        for _, counts in answered:
            progress.add(counts)
            _check_bad(progress, terms)


def _check_bad(progress: Progress, terms: Terms) -> None:
    if terms.max_bad_rows is not None and progress.all_bad > terms.max_bad_rows:
        raise TooManyBadRows(
            f"{progress.all_bad} rows could not be answered, --max-bad-rows allows {terms.max_bad_rows}: the output's "
            f"{parts.BAD} says why; allow more to go on"
        )


def _where(job: Job) -> str:
    return f"{job.output}/{parts.BAD}"
