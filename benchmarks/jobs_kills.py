"""A batch job killed with -9 at ten random moments and started again each time: is its output that of an undisturbed one?

    python -m benchmarks.jobs_kills [--quick]

A million rows are scored, once by one worker undisturbed, once with the kills by one worker and by Ray's two.
"""

import random
import subprocess
import time
from pathlib import Path

from benchmarks.harness import Comparison
from benchmarks.jobs_run import Bench, bench
from benchmarks.results import installed, parse, publish

KILLS = 10
WHAT = """`jobs run score` of 1,000,000 rows in shards of 10,000, killed with SIGKILL at ten random moments after its first
part file or the former run's last, and started again each time. Counted are the output's files that are, byte for byte,
those of an undisturbed run."""


def contents(output: Path) -> dict[str, bytes]:
    """Every file by name."""
    return {str(file.relative_to(output)): file.read_bytes() for file in output.rglob("*") if file.is_file()}


def disturbed(work: Bench, count: int, workers: int, kills: int, chance: random.Random) -> Path:
    """Run a job to its end, with kills on the way."""
    output = work.home / f"killed-{workers}"
    command = work.command(count, output, workers, "--shard-rows", 10_000)
    for number in range(kills):
        done = _parts(output)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 120
        while _parts(output) <= done and process.poll() is None and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(chance.random() * 0.3)
        process.kill()
        process.wait()
        print(f"{workers} workers, kill {number + 1}: {_parts(output)} parts")
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return output


def _parts(output: Path) -> int:
    return len(list(output.glob("part-*")))


def main() -> None:
    options = parse(__doc__, rounds=1)
    count, kills = (100_000, 2) if options.quick else (1_000_000, KILLS)
    chance, comparisons = random.Random(1), []
    with bench() as work:
        run = work.graphs()
        whole = work.home / "whole"
        subprocess.run(work.command(count, whole, 1, "--shard-rows", 10_000), check=True, stdout=subprocess.DEVNULL)
        expected = contents(whole)
        for workers in (1, 2):
            found = contents(disturbed(work, count, workers, kills, chance))
            same = sum(found.get(name) == content for name, content in expected.items())
            if found.keys() != expected.keys():
                raise AssertionError(f"files that differ: {sorted(found.keys() ^ expected.keys())}")
            name = f"{kills} kills, {workers} worker{'s' if workers > 1 else ''}"
            comparisons.append(
                Comparison(name, "identical", "undisturbed", "files", "higher", [same], [len(expected)], bar=1.0)
            )
            print(name, same, len(expected))
    if not options.quick:
        publish("jobs_kills", WHAT, comparisons, installed("onnxruntime-gpu", "pyarrow", "ray"), graphs=run)


if __name__ == "__main__":
    main()
