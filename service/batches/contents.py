"""What is in the files: one file on the disk for each, named by an id of ours; nothing that a client says becomes a path.

    <directory>/batches.sqlite3, lock, files/<id>, incoming/<id>

A file is written aside and moved to its place when it is whole and on the disk.
"""

import fcntl
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO


class InUse(RuntimeError):
    """Another process works in this directory."""


class Contents:
    """A directory that this process has for itself. Raises InUse, OSError."""

    def __init__(self, directory: Path) -> None:
        self.database = directory / "batches.sqlite3"
        self._files, self._incoming = directory / "files", directory / "incoming"
        for folder in (directory, self._files, self._incoming):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = (directory / "lock").open("wb")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # gone with the process, whatever ends it
        except BlockingIOError as error:
            self._lock.close()
            raise InUse(f"{directory}: another process works here: AMOSTRA_BATCH_DIR must be this one's own") from error

    def close(self) -> None:
        self._lock.close()

    def sweep(self, known: Iterable[str]) -> None:
        """Remove what nobody knows: what was half written, or written and not yet remembered, when the process ended."""
        kept = set(known)
        for folder in (self._files, self._incoming):
            for path in folder.iterdir():
                if folder is self._incoming or path.name not in kept:
                    path.unlink()

    def path(self, file_id: str) -> Path:
        """Where the content of a known file is."""
        return self._files / file_id

    def remove(self, file_id: str) -> None:
        """Let go of a content; who reads it reads on."""
        self.path(file_id).unlink(missing_ok=True)

    def begin(self) -> "Writing":
        """A new content."""
        return Writing(self._incoming, self._files)


class Writing:
    """A content that is being written. It is kept when `keep` was called, and gone otherwise."""

    def __init__(self, incoming: Path, files: Path) -> None:
        self.id = f"file-{secrets.token_hex(12)}"
        self.bytes = 0
        self._aside, self._place = incoming / self.id, files / self.id
        self._file: BinaryIO = self._aside.open("xb")

    def __enter__(self) -> "Writing":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._aside.unlink(missing_ok=True)

    def write(self, piece: bytes) -> None:
        """Add a piece."""
        self._file.write(piece)
        self.bytes += len(piece)

    def keep(self) -> None:
        """All is there: on the disk, then at its place."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._aside.rename(self._place)
