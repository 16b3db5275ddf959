"""How many cores this process may use: what its affinity and its control group's quota leave of the machine's."""

import os
from pathlib import Path

CONTROL_GROUPS = Path("/sys/fs/cgroup")


def usable(groups: Path = CONTROL_GROUPS, own: Path = Path("/proc/self/cgroup")) -> int:
    """Cores, at least 1. A quota of one and a half counts as 2: one thread alone would leave a third of it unused."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min([cores, *_quotas(groups, own)]))


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
