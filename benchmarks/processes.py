"""Processes as the kernel knows them, by `/proc`: a server's whole family, and the processor time that it has used."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
# Fields of /proc/<id>/stat after the name, counted from 0.
_STATE, _PARENT, _SESSION, _START = 0, 1, 3, 19
_TIMES = slice(11, 15)  # user and system time, its own and of children that were waited for


def family(pid: int) -> dict[int, int]:
    """A process with all that descends from it, and all of its session: their start times by their ids."""
    parents, sessions, starts = {}, {}, {}
    numbers = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    for number, fields in _stats(numbers):
        parents[number], sessions[number] = int(fields[_PARENT]), int(fields[_SESSION])
        starts[number] = int(fields[_START])
    found = {number for number in parents if number == pid or sessions[number] == pid}
    while grown := {number for number, parent in parents.items() if parent in found} - found:
        found |= grown
    return {number: starts[number] for number in found}


def alive(born: Mapping[int, int]) -> list[int]:
    """Those of a family that still run; an id that was given to another process since is not one of them."""
    return [number for number, fields in _stats(born) if int(fields[_START]) == born[number] and fields[_STATE] != "Z"]


def cpu_seconds(pid: int) -> float:
    """Processor time that a process and its descendants have used, those that have ended included."""
    return sum(sum(map(int, fields[_TIMES])) for _, fields in _stats(family(pid))) / _TICK


def _stats(numbers: Iterator[int] | list[int] | Mapping[int, int]) -> Iterator[tuple[int, list[str]]]:
    for number in numbers:
        with contextlib.suppress(OSError):
            yield number, Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
