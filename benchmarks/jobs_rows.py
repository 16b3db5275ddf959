"""Rows a second of `jobs run score`: 1,000,000 rows × 20 columns from Parquet, beside a hand-written loop.

    python -m benchmarks.jobs_rows [--rounds 5] [--quick]

The loop (jobs_loop.py) has the batch size that is the fastest for it. It checks nothing, makes no p-values and writes
nothing; the job does all three. Counted is the time at work, as both of them say it, and the time of the whole command.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

from benchmarks.harness import Comparison, interleaved
from benchmarks.jobs_run import Bench, Ran, bench
from benchmarks.results import installed, parse, publish

BAR = 0.8
SIZES = (64, 128, 256, 512, 1024, 4096)
WHAT = """`jobs run score` of 1,000,000 rows of 20 columns in one Parquet file, the distance to five of 5,000 known rows,
with one worker and one thread; and `session.run` in a loop with one thread, at its best batch size."""


def looped(work: Bench, count: int, size: int) -> Ran:
    """The loop over so many rows."""
    command = [sys.executable, "-m", "benchmarks.jobs_loop", str(work.graph()), str(work.file(count)), str(size), "1"]
    start = time.perf_counter()
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return Ran(float(said), time.perf_counter() - start, 0.0)


def best_size(work: Bench, count: int) -> int:
    """The loop's best batch size."""
    return min(SIZES, key=lambda size: min(looped(work, count, size).seconds for _ in range(2)))


def main() -> None:
    options = parse(__doc__, rounds=5)
    rounds, count = (1, 100_000) if options.quick else (options.rounds, 1_000_000)
    with bench() as work:
        run = work.graphs()
        size = best_size(work, min(count, 100_000))
        whole: dict[str, list[float]] = {"job": [], "loop": []}

        def rate(name: str, run: Callable[[], Ran]) -> float:
            ran = run()
            whole[name].append(count / ran.whole_seconds)
            return count / ran.seconds

        figures = interleaved(
            {
                "job": partial(rate, "job", partial(work.run, count, 1)),
                "loop": partial(rate, "loop", partial(looped, work, count, size)),
            },
            rounds,
        )
    of_whole = {name: found[1:] for name, found in whole.items()}  # the first was the warm-up
    comparisons = [
        Comparison("at work", "job", f"loop of {size}", "rows/s", "higher", figures["job"], figures["loop"], BAR),
        Comparison("whole command", "job", f"loop of {size}", "rows/s", "higher", of_whole["job"], of_whole["loop"]),
    ]
    for compared in comparisons:
        print(compared.name, f"{compared.our_figure:,.0f}", f"{compared.peer_figure:,.0f}", f"{compared.ratio:.2f}")
    if not options.quick:
        publish("jobs_rows", WHAT, comparisons, installed("onnxruntime-gpu", "pyarrow"), graphs=run)


if __name__ == "__main__":
    main()
