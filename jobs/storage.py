"""Folders by URI: a path, `s3://bucket/folder`, whatever fsspec knows. A file is there whole or not at all."""

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.implementations.arrow import ArrowFSWrapper
from fsspec.implementations.local import LocalFileSystem
from pyarrow.fs import S3FileSystem

from jobs.errors import BadUsage

UNFINISHED = "_unfinished"
"""Where a local folder's files stand until they are whole."""


@dataclass(frozen=True)
class Folder:
    """A folder of a file system. Objects of a store appear when they are complete; local files are renamed."""

    fs: Any
    path: str

    @property
    def local(self) -> bool:
        return isinstance(self.fs, LocalFileSystem)

    def within(self, other: "Folder") -> bool:
        """Whether it is the other one, or stands somewhere in it."""
        return type(self.fs) is type(other.fs) and f"{self.path}/".startswith(f"{other.path}/")

    def at(self, name: str) -> str:
        return f"{self.path}/{name}"

    def names(self, folder: str = "") -> set[str]:
        """The files of the folder, or of a folder in it; none where it is not there."""
        self.fs.invalidate_cache()
        try:
            found = self.fs.ls(self.at(folder) if folder else self.path, detail=True)
        except FileNotFoundError:
            return set()
        return {about["name"].rstrip("/").rpartition("/")[2] for about in found if about["type"] == "file"}

    def read(self, name: str) -> bytes | None:
        """A small file; None where it is not there."""
        try:
            return self.fs.cat_file(self.at(name))
        except FileNotFoundError:
            return None

    def remove(self, name: str) -> None:
        """Remove a file that may not be there."""
        with suppress(FileNotFoundError):
            self.fs.rm_file(self.at(name))

    def put(self, name: str, content: bytes) -> None:
        """Write a small file."""
        with self.writing(name) as file:
            file.write(content)

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """A file to write into, which takes its name when it is whole. After an error nothing is left of it."""
        unfinished = Path(self.path, UNFINISHED) if self.local else Path(tempfile.gettempdir())
        unfinished.mkdir(parents=True, exist_ok=True)
        temporary = unfinished / f"{uuid.uuid4().hex}-{name.rpartition('/')[2]}"
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if self.local:
                target = Path(self.at(name))
                target.parent.mkdir(parents=True, exist_ok=True)
                temporary.replace(target)
            else:
                self.fs.put_file(str(temporary), self.at(name))
        finally:
            temporary.unlink(missing_ok=True)

    def clear_unfinished(self) -> None:
        """Remove what an interrupted job has left."""
        if self.local:
            with suppress(FileNotFoundError):
                self.fs.rm(self.at(UNFINISHED), recursive=True)


def folder(uri: str) -> Folder:
    """The folder that a URI names. Raises BadUsage where the file system is unknown or not installed."""
    fs, path = file_system(uri)
    return Folder(fs, path.rstrip("/"))


def file_system(uri: str) -> tuple[Any, str]:
    """The file system of a URI, and the path in it. Raises BadUsage.

    S3 is Arrow's, which needs no other package, and finds keys and region as all of AWS's clients do.
    """
    protocol, _, path = uri.partition("://")
    try:
        if protocol in ("s3", "s3a"):
            endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
            return ArrowFSWrapper(S3FileSystem(endpoint_override=endpoint)), path
        return fsspec.core.url_to_fs(uri)
    except (ValueError, ImportError, OSError) as error:
        raise BadUsage(f"{uri}: expected a path or a URI that fsspec can open, found that {error}") from error


def open_ranges(fs: Any, path: str) -> IO[bytes]:
    """A file that is read in places: nothing is fetched ahead of them."""
    plain = isinstance(fs, LocalFileSystem | ArrowFSWrapper)
    return fs.open(path, "rb") if plain else fs.open(path, "rb", cache_type="none")
