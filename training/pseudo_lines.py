"""Lines that are almost normal, made of normal ones: what a score of lines is chosen by, where no anomaly may be looked at.

Each kind takes the tokens of a line, those of another one, and a generator, and returns tokens, one at least.
"""

from collections.abc import Callable

import numpy as np

Tokens = list[int]
SPOILT = 0.1  # of a line's tokens
CUT = 0.3


def _replaced(line: Tokens, other: Tokens, rng: np.random.Generator) -> Tokens:
    """Some tokens are those of another line."""
    spoilt = list(line)
    for place in rng.choice(len(line), max(1, round(SPOILT * len(line))), replace=False):
        spoilt[place] = other[rng.integers(len(other))]
    return spoilt


def _swapped(line: Tokens, other: Tokens, rng: np.random.Generator) -> Tokens:
    """Some neighbours have changed places."""
    spoilt = list(line)
    for _ in range(max(1, round(SPOILT * len(line)))):
        first = int(rng.integers(max(1, len(line) - 1)))
        spoilt[first : first + 2] = spoilt[first : first + 2][::-1]
    return spoilt


def _gap(line: Tokens, other: Tokens, rng: np.random.Generator) -> Tokens:
    """A run of tokens is missing."""
    first, last = _run(line, rng)
    return [*line[:first], *line[last:]] or line


def _repeated(line: Tokens, other: Tokens, rng: np.random.Generator) -> Tokens:
    """A run of tokens is there three times."""
    first, last = _run(line, rng)
    return [*line[:last], *line[first:last], *line[first:last], *line[last:]]


def _cut_short(line: Tokens, other: Tokens, rng: np.random.Generator) -> Tokens:
    return line[: max(1, int(rng.integers(len(line))))]


def _spliced(line: Tokens, other: Tokens, rng: np.random.Generator) -> Tokens:
    """One line goes on as another."""
    return [*line[: int(rng.integers(1, len(line) + 1))], *other[int(rng.integers(len(other))) :]]


def _run(line: Tokens, rng: np.random.Generator) -> tuple[int, int]:
    size = max(1, round(CUT * len(line)))
    first = int(rng.integers(len(line) - size + 1))
    return first, first + size


KINDS: dict[str, Callable[[Tokens, Tokens, np.random.Generator], Tokens]] = {
    "some tokens of another line": _replaced,
    "neighbours swapped": _swapped,
    "a run missing": _gap,
    "a run three times": _repeated,
    "cut short": _cut_short,
    "goes on as another line": _spliced,
}


def pseudo_lines(lines: list[Tokens], rng: np.random.Generator) -> dict[str, list[Tokens]]:
    """Of each kind one of each line; none of a kind is as it was."""
    found = {}
    for name, spoil in KINDS.items():
        made = (spoil(line, lines[int(rng.integers(len(lines)))], rng) for line in lines)
        found[name] = [spoilt for spoilt, line in zip(made, lines, strict=True) if spoilt != line]
    return found
