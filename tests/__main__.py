"""All tests, in two processes beside each other: python -m tests

Those of training trace graphs for minutes, each on one core. They run at the lowest priority, since some of the others look at
times, and what they print comes at the end.
"""

import os
import subprocess
import sys
import tempfile

TRAINING = "tests/training"


def _pytest(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pytest", *arguments]


def main() -> int:
    """Returns the exit status of the first half that failed, or 0."""
    with tempfile.TemporaryFile() as printed:
        patient = _pytest(TRAINING, "-p", "no:cacheprovider")  # one of them keeps what failed
        training = subprocess.Popen(patient, stdout=printed, stderr=subprocess.STDOUT, preexec_fn=lambda: os.nice(19))
        try:
            others = subprocess.run(_pytest(f"--ignore={TRAINING}"), check=False).returncode
        finally:
            training.wait()
            printed.seek(0)
            sys.stdout.buffer.write(printed.read())
            sys.stdout.flush()
    return others or training.returncode


if __name__ == "__main__":
    sys.exit(main())
