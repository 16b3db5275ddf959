"""Random bytes against everything that reads bytes, by Atheris (libFuzzer).

python -m fuzz.readers [--seconds 600] [npy picture mask numbers json csv arrow parquet tensors manifest]
"""

import argparse
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from benchmarks.environments import environment
from fuzz.targets import TARGETS

HERE = Path(__file__).parent
HANG_SECONDS = 10
PARQUET_HANG_SECONDS = 2 * HANG_SECONDS + 15
"""A file is read twice, the first time it is given up after as long, and before it a process may have to be started."""


def main() -> int:
    """Run the targets one after the other; 1 where one of them crashed, hung or ate memory."""
    parser = argparse.ArgumentParser(description="Random bytes against everything that reads bytes.")
    parser.add_argument("targets", nargs="*", help="all of them if left out")
    parser.add_argument("--seconds", type=int, default=600, help="for each")
    options = parser.parse_args()
    unknown = set(options.targets) - TARGETS.keys()
    if unknown:
        parser.error(f"expected some of {', '.join(TARGETS)}, found {', '.join(sorted(unknown))}")
    python = environment("atheris", HERE / "atheris.txt")
    # Atheris brings nothing along; what is fuzzed comes from this environment, of the same Python.
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE.parent), sysconfig.get_path("purelib")])}
    failed = []
    for name in options.targets or TARGETS:
        with tempfile.TemporaryDirectory() as corpus:
            error, runs = _fuzz([str(python), "-m", "fuzz.reader", name, corpus], name, options.seconds, env)
        print(f"{name}: {'FAILED' if error else 'sound'}, {runs:,} runs in {options.seconds} s", flush=True)
        if error:
            failed.append(name)
            print(error, file=sys.stderr)
    return 1 if failed else 0


def _fuzz(command: list[str], name: str, seconds: int, env: dict[str, str]) -> tuple[str, int]:
    """Run a target for so long, with what is left of the machine. Returns how it failed, if it did, and how often it ran."""
    report = HERE.parent / "report"
    report.mkdir(exist_ok=True)
    hang = PARQUET_HANG_SECONDS if name == "parquet" else HANG_SECONDS
    limits = [f"-max_total_time={seconds}", f"-timeout={hang}", "-rss_limit_mb=4096"]
    limits += ["-print_final_stats=1", f"-artifact_prefix={report}/{name}-"]
    command = ["nice", "-n", "19", *command, *limits]
    # Atheris says on the one what was raised, and libFuzzer on the other what it did.
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    counted = re.search(r"^stat::number_of_executed_units:\s*(\d+)", done.stdout, re.MULTILINE)
    runs = int(counted[1]) if counted else 0
    return (f"ended with {done.returncode}\n{done.stdout[-4000:]}" if done.returncode else ""), runs


if __name__ == "__main__":
    sys.exit(main())
