"""One target under libFuzzer, in the environment that has Atheris: `python -m fuzz.reader npy CORPUS -max_total_time=600`."""

import sys

import atheris

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
    atheris.Fuzz()


if __name__ == "__main__":
    main()
