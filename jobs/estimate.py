"""What a job would take: the first rows are answered, here and now, and nothing is written."""

import io
import time
from collections.abc import Iterator
from dataclasses import dataclass

from jobs import parts
from jobs.chunks import Answer
from jobs.plan import Plan
from jobs.worker import Worker

SECONDS = 3.0


@dataclass(frozen=True)
class Estimate:
    """`rate` is a worker's, in rows a second; `bytes` what the output will take."""

    rows: int
    shards: int
    rate: float
    bytes: float
    tried: int
    bad: int

    def seconds(self, workers: int) -> float:
        """Until so many workers are done; none has less than a shard to do."""
        rounds = -(-self.shards // workers)
        return min(rounds * self.rows / self.shards, self.rows) / self.rate


def estimate(planned: Plan) -> Estimate:
    """Answer rows of the first shard for some seconds. Raises JobError."""
    worker = Worker(planned.job, planned.found.source, planned.model)
    rows = bad = 0
    start = time.monotonic()

    def some() -> Iterator[Answer]:
        nonlocal rows, bad
        for answer in worker.answers(planned.shards[0]):
            rows += len(answer.answered) + len(answer.refused)
            bad += len(answer.refused)
            yield answer
            if time.monotonic() - start > SECONDS:
                return

    written = io.BytesIO()
    try:
        parts.stream(written, planned.job.task, some())
    finally:
        worker.stop()
    seconds = time.monotonic() - start
    return Estimate(planned.rows, len(planned.shards), rows / seconds, written.tell() / rows * planned.rows, rows, bad)
