"""A process for test_side.py: `python -m tests.benchmarks.doubler <addend>`."""

import sys

from benchmarks.side import answer


def run(number: int) -> dict:
    print("a library's chatter")
    return {"found": 2 * number + int(sys.argv[1])}


if __name__ == "__main__":
    answer(run)
