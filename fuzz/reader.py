"""One target under libFuzzer, in the environment that has Atheris: `python -m fuzz.reader npy CORPUS -max_total_time=600`."""

import operator
import sys

import atheris
import numpy as np
from atheris import core_with_libfuzzer as core

_COMPARISONS = (operator.lt, operator.le, operator.eq, operator.ne, operator.gt, operator.ge)

with atheris.instrument_imports(include=["service", "contract", "PIL", "numpy.lib"]):
    from fuzz.targets import ALLOWED, TARGETS, seeds


def main() -> None:
    """Read bytes until the time is up; whatever is not one of our errors is a crash."""
    name, corpus = sys.argv[1:3]
    for number, seed in enumerate(seeds(name)):
        with open(f"{corpus}/seed-{number}", "wb") as stream:
            stream.write(seed)
    target = TARGETS[name]

    def once(blob: bytes) -> None:
        try:
            target(blob)
        except ALLOWED:
            return

    atheris.Setup([sys.argv[0], corpus, *sys.argv[3:]], once)
    _leave_arrays_alone()
    atheris.Fuzz()


def _leave_arrays_alone() -> None:
    """Atheris 3.0.0 never lets go of a result that it traced: a leak where that is an array, of which it learns nothing."""
    trace = core._trace_cmp

    def compare(one: object, other: object, operation: int, *traced: object) -> object:
        if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
            return _COMPARISONS[operation](one, other)
        return trace(one, other, operation, *traced)

    core._trace_cmp = compare


if __name__ == "__main__":
    main()
