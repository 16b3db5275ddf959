"""Random bytes against everything that reads bytes, by Atheris (libFuzzer).

python -m fuzz.readers [--seconds 600] [npy picture mask numbers json csv arrow parquet manifest]
"""

import argparse
import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from benchmarks.environments import environment
from fuzz.targets import TARGETS

HERE = Path(__file__).parent


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
            command = [str(python), "-m", "fuzz.reader", name, corpus, f"-max_total_time={options.seconds}"]
            command += ["-timeout=10", "-rss_limit_mb=2048", f"-artifact_prefix={HERE.parent / 'report'}/{name}-"]
            (HERE.parent / "report").mkdir(exist_ok=True)
            done = subprocess.run(command, env=env, capture_output=True, text=True)
        last = [line for line in done.stderr.splitlines() if line.startswith(("#", "Done"))][-1:]
        print(f"{name}: {'sound' if not done.returncode else 'FAILED'} {' '.join(last)}", flush=True)
        if done.returncode:
            failed.append(name)
            print(done.stderr[-4000:], file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
