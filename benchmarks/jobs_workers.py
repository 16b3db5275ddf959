"""Two workers of a batch job against one, and the memory of a million rows against that of a hundred thousand.

    python -m benchmarks.jobs_workers [--rounds 5] [--quick]

Each worker has one thread for graphs, and each job as many cores as workers, for a worker that has another core besides
reads and writes there. The rate is that of the second half of the part files, for Ray takes some seconds to start, however
long the job is, and its workers do not start together; the whole command's is beside it. Memory is that of all processes of
a job together.
"""

import tempfile
from functools import partial
from pathlib import Path

from pyarrow import parquet

from benchmarks.harness import Comparison, interleaved
from benchmarks.jobs_run import Bench, bench
from benchmarks.results import installed, parse, publish

WORKERS_BAR, MEMORY_BAR = 1.7, 1.2
RATED, MANY, FEW = 3_000_000, 1_000_000, 100_000
WHAT = """`jobs run score` of rows of 20 columns in one Parquet file, the distance to five of 5,000 known rows; one worker
is a process on one core, two are Ray's on two."""


def rate(work: Bench, count: int, whole: dict[str, list[float]], workers: int) -> float:
    """Rows a second of the second half of the part files. The whole command's go to `whole`."""
    with tempfile.TemporaryDirectory(dir=work.home) as folder:
        output = Path(folder, "out")
        ran = work.run(count, workers, output, cores=workers)
        whole[str(workers)].append(count / ran.whole_seconds)
        found = sorted(
            (part.stat().st_mtime_ns, parquet.read_metadata(part).num_rows) for part in output.glob("part-*")
        )
    (start, _), *later = found[len(found) // 2 :]
    return sum(rows for _, rows in later) / ((later[-1][0] - start) / 1e9)


def main() -> None:
    options = parse(__doc__, rounds=5)
    rounds = 1 if options.quick else options.rounds
    rated, many, few = (400_000, 200_000, FEW) if options.quick else (RATED, MANY, FEW)
    whole: dict[str, list[float]] = {"1": [], "2": []}
    with bench() as work:
        run = work.graphs()
        rates = interleaved({str(n): partial(rate, work, rated, whole, n) for n in (2, 1)}, rounds)
        memory = interleaved(
            {
                f"{count} rows, {n}": partial(lambda count, n: work.run(count, n, watched=True).mebibytes, count, n)
                for n in (1, 2)
                for count in (many, few)
            },
            rounds,
        )
    of_whole = {name: found[1:] for name, found in whole.items()}  # the first was the warm-up
    comparisons = [
        Comparison("at work", "2 workers", "1 worker", "rows/s", "higher", rates["2"], rates["1"], WORKERS_BAR),
        Comparison(
            f"whole command, {rated:,} rows", "2 workers", "1 worker", "rows/s", "higher", of_whole["2"], of_whole["1"]
        ),
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
        publish("jobs_workers", WHAT, comparisons, installed("onnxruntime-gpu", "pyarrow", "ray"), graphs=run)


if __name__ == "__main__":
    main()
