"""Two workers of a batch job against one, and the memory of a million rows against that of a hundred thousand.

    python -m benchmarks.jobs_workers [--rounds 5] [--quick]

Each worker has one thread for graphs, and each job as many cores as workers, for a worker that has another core besides
reads and writes there. The rate is that between the first and the last part file, for Ray takes some seconds to start,
however long the job is. Memory is that of all processes of a job together.
"""

import tempfile
from functools import partial
from pathlib import Path

from benchmarks.harness import Comparison, interleaved
from benchmarks.jobs_run import Bench, bench
from benchmarks.results import installed, parse, publish

WORKERS_BAR, MEMORY_BAR = 1.7, 1.2
MANY, FEW = 1_000_000, 100_000
ROWS = 50_000  # of a shard
WHAT = """`jobs run score` of rows of 20 columns in one Parquet file, the distance to five of 5,000 known rows; one worker
is a process on one core, two are Ray's on two."""


def rate(work: Bench, count: int, workers: int) -> float:
    """Rows a second between the first part file and the last."""
    with tempfile.TemporaryDirectory(dir=work.home) as folder:
        output = Path(folder, "out")
        work.run(count, workers, output, cores=workers)
        times = sorted(part.stat().st_mtime_ns for part in output.glob("part-*"))
    return (count - ROWS) / ((times[-1] - times[0]) / 1e9)


def main() -> None:
    options = parse(__doc__, rounds=5)
    rounds, many, few = (1, 200_000, FEW) if options.quick else (options.rounds, MANY, FEW)
    with bench() as work:
        rates = interleaved({str(n): partial(rate, work, many, n) for n in (2, 1)}, rounds)
        memory = interleaved(
            {
                f"{count} rows, {n}": partial(lambda count, n: work.run(count, n).mebibytes, count, n)
                for n in (1, 2)
                for count in (many, few)
            },
            rounds,
        )
    comparisons = [
        Comparison("rate", "2 workers", "1 worker", "rows/s", "higher", rates["2"], rates["1"], WORKERS_BAR),
        *(
            Comparison(
                f"most memory, {n} worker{'s' if n > 1 else ''}",
                f"{many:,} rows",
                f"{few:,} rows",
                "MiB",
                "lower",
                memory[f"{many} rows, {n}"],
                memory[f"{few} rows, {n}"],
                MEMORY_BAR,
                "at most",
            )
            for n in (1, 2)
        ),
    ]
    for compared in comparisons:
        print(compared.name, f"{compared.our_figure:,.0f}", f"{compared.peer_figure:,.0f}", f"{compared.ratio:.2f}")
    if not options.quick:
        publish("jobs_workers", WHAT, comparisons, installed("onnxruntime-gpu", "pyarrow", "ray"))


if __name__ == "__main__":
    main()
