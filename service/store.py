"""The model store on disk: directories `<model>/<version>/`, and which of them have come, changed or gone.

A directory that changed must lie still for one look before it counts, so that a slow copy is not read half-way; one that is
replaced by renaming is away for a moment, and must be missing twice to be gone.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

log = logging.getLogger("amostra.catalog")
Key = tuple[str, str]
"""A model's name and version."""
Fingerprint = tuple[tuple[str, int, int, int], ...]
"""Name, size, time of change and inode of each file: what tells that a directory changed."""


class Store:
    """Looked at again and again; what it saw the time before is what it compares with."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unsettled: dict[Key, Fingerprint] = {}
        self._missing: set[Key] = set()

    def directory(self, key: Key) -> Path:
        """Where a model lies."""
        return self._path.joinpath(*key)

    def look(self, known: Mapping[Key, Fingerprint], *, settled: bool) -> tuple[dict[Key, Fingerprint], set[Key]]:
        """What is not as it is known, as it is now, and what is gone. With `settled`, what is found counts at once."""
        directories = self._directories()
        if directories is None:
            return {}, set()
        present = {(d.parent.name, d.name): d for d in directories}
        missing = {key for key in known if key not in present}
        gone, self._missing = missing & self._missing, missing - self._missing
        changed: dict[Key, Fingerprint] = {}
        unsettled: dict[Key, Fingerprint] = {}
        for key, directory in present.items():
            now = fingerprint(directory)
            if known.get(key) == now:
                continue
            if settled or self._unsettled.get(key) == now:
                changed[key] = now
            else:
                unsettled[key] = now
        self._unsettled = unsettled
        return changed, gone

    def _directories(self) -> list[Path] | None:
        """What begins with a dot is being made. None where the store cannot be read: what serves serves on, for a mount that
        is away may come back."""
        try:
            models = [d for d in self._path.iterdir() if d.is_dir() and not d.name.startswith(".")]
            versions = (v for m in models for v in m.iterdir() if v.is_dir() and not v.name.startswith("."))
            return sorted(versions)
        except OSError as error:
            log.error("the model store %s cannot be read: %s", self._path, error.strerror)
            return None


def fingerprint(directory: Path) -> Fingerprint:
    """What the directory looks like now."""
    marks = []
    for path in sorted(directory.iterdir()):
        try:
            stat = path.stat()
        except OSError:
            continue
        marks.append((path.name, stat.st_size, stat.st_mtime_ns, stat.st_ino))
    return tuple(marks)
