"""Twenty minutes of more work than can be done, from clients of which some leave, send garbage, stall, or do not read.

    python -m benchmarks.soak [--minutes 20] [--quick]

At the start of the same run, good clients that wait for their answers measure the capacity. Then requests come at 1.5 times
that rate, whatever becomes of those before, and one in ten beside them is a bad one. Good requests that were served count by
the time that their like takes alone, for more of the dear ones may be refused.

A full queue takes memory, of which there is a bound; what grows after that is a leak. So memory at the end is compared with
memory from the time on when the queue was as long as it gets, if that came within the first half.
"""

import asyncio
import json
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from benchmarks.crowd import HEAD, Asks, Crowd
from benchmarks.fairness import ALL_LOADED, MODELS
from benchmarks.harness import Comparison
from benchmarks.load import Request, ask
from benchmarks.memory import resident
from benchmarks.processes import cpu_seconds
from benchmarks.results import installed, parser, publish
from benchmarks.servers import Served, ours
from benchmarks.stamps import shipped

OVERLOAD, BAD_SHARE = 1.5, 0.1
GOOD_BAR, MEMORY_BAR = 0.9, 1.05
CLIENTS = 32
_SCORES = 64
WARM_SHARE, FULL = 0.2, 0.9
BAD = {"leave": 0.5, "garbage": 0.4, "stall": 0.05, "unread": 0.05}
"""Sorts of bad clients by their share."""
METRICS = Request("/metrics", method="GET")


def _post(path: str, **body: object) -> Request:
    return Request(path, json.dumps(body).encode(), HEAD)


def _draw(number: int) -> Request:
    return _post("/v1/images/generations", model="mnist-gan", n=32, seed=number)


def _walk(number: int) -> Request:
    return _post("/v1/images/generations", model="mnist-diffusion", n=1, steps=8, seed=number)


def _write(number: int) -> Request:
    return _post("/v1/completions", model="shakespeare-gpt", prompt="ROMEO:", max_tokens=64, seed=number)


def _score(number: int) -> Request:
    return _scores()[number % _SCORES]


@cache
def _scores() -> list[Request]:
    """Written once: clients that write numbers all the time would take the cores from the service."""
    chance = np.random.default_rng(0)
    rows = (chance.random((8, 28, 28)).round(3).tolist() for _ in range(_SCORES))
    return [_post("/v1/score", model="mnist-flow", inputs=inputs) for inputs in rows]


ASKS: Asks = {"draw": _draw, "walk": _walk, "write": _write, "score": _score}


async def _capacity(served: Served, seconds: float) -> tuple[dict[str, float], float, float]:
    """Seconds that each kind of request takes where many of its like come, requests a second of all kinds mixed, and the
    server's processor time for one of these."""
    port = served.port
    kinds = list(ASKS)
    costs = {}
    for kind in kinds:
        crowd = Crowd(port, ASKS)
        await crowd.closed(4, 1.0, [kind])
        crowd = Crowd(port, ASKS)
        costs[kind] = await crowd.closed(CLIENTS, seconds / len(kinds), [kind]) / crowd.seen.good[kind]
    crowd, used = Crowd(port, ASKS), cpu_seconds(served.pid)
    took = await crowd.closed(CLIENTS, seconds, kinds)
    used = cpu_seconds(served.pid) - used
    if crowd.seen.lost:
        sys.exit(f"requests were lost before the overload: {crowd.seen.lost[:5]}")
    count = sum(crowd.seen.good.values())
    return costs, count / took, used / count


@dataclass
class Course:
    """Resident memory (MiB) and jobs under way, over the time."""

    memory: list[float] = field(default_factory=list)
    jobs: list[float] = field(default_factory=list)

    async def watch(self, served: Served, every: float) -> None:
        while True:
            self.jobs.append(await asyncio.to_thread(_jobs, served.port))
            self.memory.append(resident(served.pid))
            await asyncio.sleep(every)

    def warm(self) -> list[float]:
        """The memory from the time on when the queue was full, if that came within the first half; without the first
        WARM_SHARE in any case."""
        full = next(i for i, jobs in enumerate(self.jobs) if jobs >= FULL * max(self.jobs))
        early = full if full <= len(self.jobs) // 2 else 0
        return self.memory[max(early, int(len(self.memory) * WARM_SHARE)) :]


async def _overload(served: Served, rate: float, seconds: float) -> tuple[Crowd, float, Course]:
    """The crowd after its time, how long its good requests were served (the last bad clients leave later), and the course of
    the server."""
    crowd, course = Crowd(served.port, ASKS, seed=1), Course()
    good = {kind: rate * (1 - BAD_SHARE) / len(ASKS) for kind in ASKS}
    bad = {sort: rate * BAD_SHARE * share for sort, share in BAD.items()}
    watch = asyncio.create_task(course.watch(served, seconds / 40))
    start = time.monotonic()
    await crowd.open(good | bad, seconds)
    watch.cancel()
    return crowd, crowd.seen.last - start, course


def _wait_for_all(port: int) -> None:
    """Models that are not used are loaded too, and that takes a core."""
    listing = Request("/v1/models?state=all", method="GET")
    while b'"state":"loading"' in ask(port, listing).body:
        time.sleep(0.5)


def _jobs(port: int) -> float:
    """Jobs that the engine has."""
    lines = ask(port, METRICS).body.decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("amostra_engine_jobs "))


def main() -> None:
    arguments = parser(__doc__, 1, "ignored: one run takes long enough")
    arguments.add_argument("--minutes", type=float, default=20.0, help="of overload (default 20)")
    options = arguments.parse_args()
    seconds = 10.0 if options.quick else 60 * options.minutes
    random.seed(0)
    with ours(ALL_LOADED) as served:
        _wait_for_all(served.port)
        costs, capacity, alone = asyncio.run(_capacity(served, max(8.0, seconds / 20)))
        used = cpu_seconds(served.pid)
        crowd, took, course = asyncio.run(_overload(served, OVERLOAD * capacity, seconds))
        used = cpu_seconds(served.pid) - used
        time.sleep(1.0)
        left = _jobs(served.port)
    seen = crowd.seen
    done = _work(seen.good, costs) / took
    could = capacity * statistics.mean(costs.values())
    memory, warm = course.memory, course.warm()
    if len(warm) < len(memory) / 2 and not options.quick:
        sys.exit(
            "the queue was not full within the first half: let it run for longer, with nothing else on the machine"
        )
    tenth = max(1, len(warm) // 10)
    begin, end = statistics.median(warm[:tenth]), statistics.median(warm[-tenth:])
    p50, p99 = np.percentile(seen.seconds, [50, 99])
    notes = [
        f"capacity {capacity:.1f} requests/s; {sum(seen.statuses.values()):,} good requests came at "
        f"{OVERLOAD * (1 - BAD_SHARE) * capacity:.1f} a second and were answered: {_counted(seen.statuses)}",
        f"served: {_counted(seen.good)}; median {p50:.1f} s, 99th percentile {p99:.1f} s",
        f"the server's processor time for a good request, with all else that it did: {1000 * alone:.0f} ms at capacity, "
        f"{1000 * used / sum(seen.good.values()):.0f} ms overloaded",
        f"bad clients: {_counted(seen.bad)}",
        f"answers lost, cut short or sent twice: {len(seen.lost)}; jobs left at the end: {left:.0f}",
        f"memory (MiB) over the time: {_sampled(memory)}; jobs under way: {_sampled(course.jobs)}",
    ]
    for note in notes:
        print(note, flush=True)
    if seen.lost or left:
        sys.exit(f"not every accepted request had exactly one answer: {Counter(seen.lost).most_common(5)}, {left} left")
    if options.quick:
        return
    publish(
        "soak",
        f"{options.minutes:g} minutes of {OVERLOAD:g} times as much as can be done, one client in ten a bad one; good "
        "requests by the time that their like takes alone, default settings, clients on the same machine.",
        [
            Comparison("good requests", "overloaded", "at capacity", "s/s", "higher", [done], [could], GOOD_BAR),
            Comparison("resident memory", "at the end", "warm", "MiB", "lower", [end], [begin], MEMORY_BAR),
        ],
        installed("bentoml", "onnxruntime-gpu"),
        notes,
        shipped(MODELS | {"mnist-diffusion": "denoise_step"}),
    )


def _work(good: Mapping[str, int], costs: Mapping[str, float]) -> float:
    return sum(count * costs[kind] for kind, count in good.items())


def _sampled(course: list[float]) -> str:
    return ", ".join(f"{value:.0f}" for value in course[::5])


def _counted(counts: Mapping[object, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items(), key=str)) or "none"


if __name__ == "__main__":
    main()
