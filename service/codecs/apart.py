"""Decodes Parquet in a process of its own, which may die of what it reads.

Parquet's decoder is native code that trusts its input: a kilobyte can make it ask for all memory there is, and no check of
the file's index tells. So it runs where little can be asked for, and a file that costs more than a limit costs that process
and nothing else. The process is started by the first file, and serves all that follow. It says when it is ready to read:
only from then on a file's time counts, for a start that takes long on a busy machine says nothing of the file.

Both ways a message is a JSON object and bytes, each with its length before it, 8 bytes, little-endian.
"""

import contextlib
import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import IO, Any

import numpy as np

from contract.manifest import Column
from service.codecs import table
from service.errors import AmostraError, BadRequest, Invalid, NotReady, TooLarge

log = logging.getLogger("amostra.http")

SECONDS = 10.0
START_SECONDS = 60.0
MEGABYTES = 2048
_RETRY_SECONDS = 2.0
_ERRORS: dict[str, type[AmostraError]] = {kind.code: kind for kind in (BadRequest, Invalid, TooLarge)}


class Reader:
    """The process, and how to talk to it. Safe to use from several threads: they take turns."""

    def __init__(
        self, seconds: float = SECONDS, megabytes: int = MEGABYTES, start_seconds: float = START_SECONDS
    ) -> None:
        self._seconds = seconds
        self._start_seconds = start_seconds
        self._megabytes = megabytes
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def decode(
        self, blob: bytes, columns: Sequence[Column], max_rows: int, max_bytes: int, field: str = "body"
    ) -> np.ndarray:
        """A Parquet file's rows as vectors (N, D) float32. Raises as table.decode does, and NotReady."""
        about = {
            "columns": [column.model_dump() for column in columns],
            "max_rows": max_rows,
            "max_bytes": max_bytes,
            "field": field,
        }
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._start(field)
            answer = self._hear(self._seconds, about, blob)
        if answer is None:
            raise BadRequest(
                f"{field}: expected {table.PARQUET} that can be read within {self._seconds:g} s and "
                f"{self._megabytes} MB, found one that cannot: write it again, or send CSV",
                field=field,
            )
        said, rows = answer
        if "code" in said:
            raise _ERRORS[said["code"]](said["detail"], field=said["field"])
        return np.frombuffer(bytearray(rows), np.float32).reshape(said["shape"])

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _start(self, field: str) -> None:
        """Start the process, and wait until it is ready. Raises NotReady."""
        self._end()
        command = [sys.executable, "-m", "service.codecs.apart", str(self._megabytes)]
        with contextlib.suppress(OSError):
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if self._process is None or self._hear(self._start_seconds) is None:
            log.error("the reader of Parquet did not start within %g s", self._start_seconds)
            raise NotReady(
                f"{field}: the reader of {table.PARQUET} did not start within {self._start_seconds:g} s: "
                f"send it again, or send CSV",
                field=field,
                retry_after=_RETRY_SECONDS,
            )

    def _hear(self, seconds: float, *said: Any) -> tuple[dict[str, Any], bytes] | None:
        """What the process says next, or to this; None where it died, which it does too when its time is up."""
        process = self._process
        assert process is not None, "it was started"
        assert process.stdin is not None, "it was started with pipes"
        assert process.stdout is not None, "it was started with pipes"
        timer = threading.Timer(seconds, process.kill)
        timer.start()
        answer = None
        try:
            if said:
                _write(process.stdin, *said)
            answer = _read(process.stdout)
        except OSError:
            pass
        finally:
            timer.cancel()
            if answer is None or process.poll() is not None:
                self._end()
        return answer

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):  # what was not sent to it yet
                        pipe.close()


def _write(stream: IO[bytes], said: dict[str, Any], blob: bytes) -> None:
    head = json.dumps(said).encode()
    for part in (head, blob):
        stream.write(len(part).to_bytes(8, "little"))
        stream.write(part)
    stream.flush()


def _read(stream: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    """A message; None at the stream's end."""
    parts: list[bytes] = []
    for _ in range(2):
        size = int.from_bytes(stream.read(8), "little")
        part = stream.read(size)
        if len(part) < size or (not parts and not part):
            return None
        parts.append(part)
    return json.loads(parts[0]), parts[1]


def _rehearse() -> None:
    """Read a table of our own: the first one imports much, which is no part of a file's time."""
    import pyarrow as pa
    from pyarrow import parquet

    stream = io.BytesIO()
    parquet.write_table(pa.table({"a": [0.5], "b": ["c"]}), stream)
    columns = Column(name="a"), Column(name="b", kind="category", categories=("c", "d"))
    table.decode(stream.getvalue(), table.PARQUET, columns, 1, 2**20)


def _serve(megabytes: int) -> None:
    """Say that it is ready, and decode what comes on the standard input until it ends."""
    import resource  # not everywhere

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (megabytes * 2**20, megabytes * 2**20))
    _rehearse()
    _write(sys.stdout.buffer, {}, b"")
    while (asked := _read(sys.stdin.buffer)) is not None:
        about, blob = asked
        columns = [Column.model_validate(column, strict=False) for column in about["columns"]]
        field = about["field"]
        try:
            rows = table.decode(blob, table.PARQUET, columns, about["max_rows"], about["max_bytes"], field)
            _write(sys.stdout.buffer, {"shape": rows.shape}, np.ascontiguousarray(rows, np.float32).tobytes())
        except (BadRequest, Invalid, TooLarge) as error:
            said = {"code": error.code, "detail": error.detail, "field": error.field}
            _write(sys.stdout.buffer, said, b"")
        except MemoryError:
            said = {"code": "too_large", "detail": f"{field}: it needs more memory than is allowed", "field": field}
            _write(sys.stdout.buffer, said, b"")


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
