"""Memory after many requests against memory after few: what the service keeps of a request that has ended is a leak.

    python -m benchmarks.memory [--requests 100000] [--quick]

16 clients ask in turn for images, scores and texts, every one small and none like the one before; the figure is the resident
memory of the service with all its children.
"""

import itertools
import json
from pathlib import Path

from benchmarks.fairness import ALL_LOADED, short_requests
from benchmarks.harness import Comparison
from benchmarks.load import Request, load
from benchmarks.processes import family
from benchmarks.results import installed, parser, publish
from benchmarks.servers import Served, ours

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


def main() -> None:
    arguments = parser(__doc__, 1, "ignored: a leak shows in one run, which takes minutes")
    arguments.add_argument("--requests", type=int, default=100_000, help="in all (default 100000)")
    options = arguments.parse_args()
    few, many = (20, 40) if options.quick else (FEW, options.requests)
    with ours(ALL_LOADED) as served:
        first = send(served, few)
        before = resident(served.pid)
        total = first + send(served, many - first)
        after = resident(served.pid)
    if options.quick:
        return
    compared = Comparison(
        "resident memory", f"after {total:,} requests", f"after {first:,}", "MiB", "lower", [after], [before], BAR
    )
    publish(
        "memory", "Images, scores and texts in turn, 16 clients, default settings.", [compared], installed("bentoml")
    )


if __name__ == "__main__":
    main()
