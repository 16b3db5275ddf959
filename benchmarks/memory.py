"""Memory after many requests against memory after few: what the service keeps of a request that has ended is a leak.

    python -m benchmarks.memory [--rounds 3] [--requests 100000] [--quick]

16 clients ask in turn for images, scores and texts, every one small and none like the one before; the figure is the resident
memory of the service with all its children. Each round has a service of its own, started for it: how an allocator's arenas
grow depends on who came when.
"""

import itertools
import json
from dataclasses import dataclass
from pathlib import Path

from benchmarks.fairness import ALL_LOADED, MODELS, short_requests
from benchmarks.harness import Comparison
from benchmarks.load import Request, load
from benchmarks.processes import family
from benchmarks.results import installed, parser, publish
from benchmarks.servers import Served, ours
from benchmarks.stamps import shipped

CLIENTS = 16
BAR = 1.05
FEW = 1_000


def mixed_requests() -> list[Request]:
    """Images, scores and texts of different lengths."""
    head = {"content-type": "application/json"}
    texts = [
        {"model": "shakespeare-gpt", "prompt": "To be, or not to be"[: 1 + i % 19], "max_tokens": 1 + i % 7, "seed": i}
        for i in range(16)
    ]
    completions = [Request("/v1/completions", json.dumps(text).encode(), head) for text in texts]
    return [*itertools.chain(*zip(short_requests()[::2], short_requests()[1::2], completions, strict=True))]


def resident(pid: int) -> float:
    """MiB of a process and its family."""
    pages = sum(int(Path(f"/proc/{number}/statm").read_text().split()[1]) for number in family(pid))
    return pages * 4096 / 2**20


def send(served: Served, count: int) -> int:
    """Send at least so many requests, and say how many were answered."""
    answered, requests = 0, mixed_requests()
    seconds = 1.0
    while answered < count:
        measured = load(served.port, served.pid, requests, CLIENTS, seconds, least_bytes=50, warm_seconds=0.0)
        answered += measured.answers
        seconds = min(60.0, 1.0 + (count - answered) / measured.rate)
    return answered


@dataclass(frozen=True)
class Grown:
    """One service: requests answered, and MiB after them; after few of them and after all."""

    few: int
    before: float
    many: int
    after: float

    def __str__(self) -> str:
        return f"{self.before:.0f} MiB after {self.few:,} requests, {self.after:.0f} MiB after {self.many:,}"


def measure(few: int, many: int) -> Grown:
    """A new service, after at least so many requests and so many."""
    with ours(ALL_LOADED) as served:
        first = send(served, few)
        before = resident(served.pid)
        total = first + send(served, many - first)
        return Grown(first, before, total, resident(served.pid))


def main() -> None:
    arguments = parser(__doc__, 3, "services, one after the other (default 3)")
    arguments.add_argument("--requests", type=int, default=100_000, help="of each service (default 100000)")
    options = arguments.parse_args()
    few, many, rounds = (20, 40, 1) if options.quick else (FEW, options.requests, options.rounds)
    found = []
    for number in range(rounds):
        found.append(measure(few, many))
        print(f"round {number + 1}: {found[-1]}", flush=True)
    if options.quick:
        return
    compared = Comparison(
        "resident memory",
        f"after {many:,} requests",
        f"after {few:,}",
        "MiB",
        "lower",
        [grown.after for grown in found],
        [grown.before for grown in found],
        BAR,
    )
    what = f"Images, scores and texts in turn, {CLIENTS} clients, default settings; a new service in each round."
    notes = [f"Round {number}: {grown}." for number, grown in enumerate(found, 1)]
    publish("memory", what, [compared], installed("bentoml", "onnxruntime-gpu"), notes, shipped(MODELS))


if __name__ == "__main__":
    main()
