"""Shards to workers: the one of this process, or many by Ray Data, here, where Ray is started for the job alone, or on a
cluster by its address.

Ray tells nobody of its use, shows no dashboard and keeps its logs to itself. A worker that dies is replaced and its shard
answered again; whatever it had not finished has left nothing.
"""

import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.chunks import Shard
from jobs.errors import Interrupted, JobFailed
from jobs.interruption import interruptible
from jobs.parts import Counts
from jobs.plan import Plan
from jobs.worker import Worker, packed

_STORE_BYTES = 80 * 2**20
"""Ray's shared memory: a few lines about each shard pass through it."""
_IN_FLIGHT = 2
"""Shards that a worker is given at once, so that it does not wait between two."""


@dataclass(frozen=True)
class Workers:
    """How many, where, and with what: `gpus` of each. Where one is enough on this machine, it is this process."""

    count: int
    address: str | None = None
    gpus: float = 0.0


def answered(plan: Plan, shards: Sequence[Shard], workers: Workers) -> Generator[tuple[int, Counts], None, None]:
    """Answer shards, and say of each that is done how many rows it has and how many were bad.

    Raises JobFailed with what a worker says, Interrupted where the cluster or its workers are lost.
    """
    if workers.address is None and min(workers.count, len(shards)) == 1:
        with interruptible():
            yield from _by_this_process(plan, shards)
        return
    # Ray has a handler of its own, which it sets when it starts.
    with interruptible(), _ray(workers), interruptible():
        yield from _by_ray(plan, shards, workers)


def _by_this_process(plan: Plan, shards: Sequence[Shard]) -> Generator[tuple[int, Counts], None, None]:
    worker = Worker(plan.job, plan.found.source, plan.model)
    try:
        for shard in shards:
            yield shard.number, worker.answer(shard)
    finally:
        worker.stop()


@contextlib.contextmanager
def _ray(workers: Workers) -> Iterator[None]:
    """Ray, started or joined, and left again. Raises Interrupted where the cluster cannot be reached."""
    os.environ.update(
        RAY_USAGE_STATS_ENABLED="0",
        RAY_BACKEND_LOG_LEVEL="fatal",
        RAY_DEDUP_LOGS="0",
        RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
        # As much as the one worker that is this process gets, and not what all others leave.
        RAY_worker_niceness="0",
    )
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    own = None if workers.address else tempfile.mkdtemp(prefix="ray")
    try:
        if workers.address:
            ray.init(address=workers.address, **quiet)
        else:
            ray.init(
                address="local",
                num_cpus=workers.count,
                include_dashboard=False,
                object_store_memory=_STORE_BYTES,
                _temp_dir=own,
                **quiet,
            )
        yield
    except ConnectionError as error:
        raise Interrupted(f"--address {workers.address}: {error}: try again when the cluster is there") from error
    finally:
        ray.shutdown()
        if own is not None:
            shutil.rmtree(own, ignore_errors=True)


def _by_ray(plan: Plan, shards: Sequence[Shard], workers: Workers) -> Generator[tuple[int, Counts], None, None]:
    import ray
    import ray.data
    from ray.exceptions import RayError

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    work = ray.data.from_items([{"shard": packed(shard)} for shard in shards], override_num_blocks=len(shards))
    count = min(workers.count, len(shards))
    done = work.map_batches(
        Worker,
        fn_constructor_args=(plan.job, plan.found.source),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=count, max_tasks_in_flight_per_actor=_IN_FLIGHT),
        num_cpus=1,
        num_gpus=workers.gpus or None,
    )
    try:
        for row in done.iter_rows():
            if row["failure"]:
                raise JobFailed(row["failure"])
            yield row["number"], Counts(row["rows"], row["bad"])
    except RayError as error:
        raise Interrupted(f"the workers were lost: {error}: the same command goes on where this one stood") from error
