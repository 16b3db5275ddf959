"""How many cores this process may use: what its affinity and its control group's quota leave of the machine's. And which
one a thread keeps to."""

import functools
import os
from contextlib import suppress
from pathlib import Path

CONTROL_GROUPS = Path("/sys/fs/cgroup")
_IF_IT_MAY = suppress(OSError)  # a sandbox may forbid it


def usable(groups: Path = CONTROL_GROUPS, own: Path = Path("/proc/self/cgroup")) -> int:
    """Cores, at least 1. A quota of one and a half counts as 2: one thread alone would leave a third of it unused."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min([cores, *_quotas(groups, own)]))


def keep_to_one(number: int, of: int) -> None:
    """Keep this thread to the core of this number, where the process may use just `of` cores: with fewer threads than cores
    a choice of ours could only be worse than the system's. The threads that it starts do as it does: see `use_all`."""
    cores = _cores_of_process()
    if len(cores) == of > 1:
        with _IF_IT_MAY:
            os.sched_setaffinity(0, {cores[number % of]})


class Place:
    """Where a worker of this number, of so many, runs: on a core of its own (keep_to_one), and on the first one with work that
    has the machine to itself. So does whoever else runs such work. The other threads of a session for it are on the other
    cores (beside_first): two that meet on one core are half as fast for as long as the system lets them."""

    def __init__(self, number: int, of: int) -> None:
        self._number, self._of = number, of
        self._kept = number
        keep_to_one(number, of)

    def keep(self, *, alone: bool) -> None:
        """Go where work belongs that is, or is not, alone. Called by the thread that made it."""
        number = 0 if alone else self._number
        if number != self._kept:
            self._kept = number
            keep_to_one(number, self._of)


def beside_first(threads: int) -> list[int] | None:
    """The cores of the second thread and of those behind it, where the process may use just so many."""
    cores = _cores_of_process()
    return cores[1:] if len(cores) == threads > 1 else None


def use_all() -> None:
    """Let this thread use every core that the process may use, whatever the one that started it keeps to."""
    cores = _cores_of_process()
    if cores:
        with _IF_IT_MAY:
            os.sched_setaffinity(0, cores)


@functools.cache  # its first thread may be the one that keeps to a core by now
def _cores_of_process() -> list[int]:
    """By its first thread; none where the system has no affinities."""
    return sorted(os.sched_getaffinity(os.getpid())) if hasattr(os, "sched_getaffinity") else []


def _quotas(groups: Path, own: Path) -> list[int]:
    """What the control group of the process and each one above it allow, in whole cores; version 2 and version 1."""
    try:
        lines = own.read_text().splitlines()
    except OSError:  # no Linux
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = groups / "cpu" if controllers else groups
        # In a container the path is the host's, and its own group lies at the root.
        place = Path(path.lstrip("/"))
        found += [quota for part in (place, *place.parents) if (quota := _quota(root / part)) is not None]
    return found


def _quota(group: Path) -> int | None:
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        if quota in ("max", "-1"):
            return None
        return max(1, -(-int(quota) // int(period)))
    except (OSError, ValueError, ZeroDivisionError):
        return None
