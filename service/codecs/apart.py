"""Decodes Parquet in a process of its own, which may die of what it reads.

Parquet's decoder is native code that trusts its input: a kilobyte can make it ask for all memory there is, and no check of
the file's index tells. So it runs where little can be asked for, and a file that costs more than a limit costs that process
and nothing else. The process is started by the first file, and serves all that follow.

Both ways a message is a JSON object and bytes, each with its length before it, 8 bytes, little-endian.
"""

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import IO, Any

import numpy as np

from contract.manifest import Column
from service.codecs import table
from service.errors import AmostraError, BadRequest, Invalid, TooLarge

SECONDS = 10.0
MEGABYTES = 2048
_ERRORS: dict[str, type[AmostraError]] = {kind.code: kind for kind in (BadRequest, Invalid, TooLarge)}


class Reader:
    """The process, and how to talk to it. Safe to use from several threads: they take turns."""

    def __init__(self, seconds: float = SECONDS, megabytes: int = MEGABYTES) -> None:
        self._seconds = seconds
        self._megabytes = megabytes
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def decode(
        self, blob: bytes, columns: Sequence[Column], max_rows: int, max_bytes: int, field: str = "body"
    ) -> np.ndarray:
        """A Parquet file's rows as vectors (N, D) float32. Raises as table.decode does."""
        about = {
            "columns": [column.model_dump() for column in columns],
            "max_rows": max_rows,
            "max_bytes": max_bytes,
            "field": field,
        }
        with self._lock:
            answer = self._ask(about, blob)
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

    def _ask(self, about: dict[str, Any], blob: bytes) -> tuple[dict[str, Any], bytes] | None:
        """The process's answer; None where it died, which it does too when its time is up."""
        if self._process is None or self._process.poll() is not None:
            command = [sys.executable, "-m", "service.codecs.apart", str(self._megabytes)]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        process = self._process
        assert process.stdin is not None, "it was started with pipes"
        assert process.stdout is not None, "it was started with pipes"
        timer = threading.Timer(self._seconds, process.kill)
        timer.start()
        try:
            _write(process.stdin, about, blob)
            return _read(process.stdout)
        except OSError:
            return None
        finally:
            timer.cancel()
            if process.poll() is not None:
                self._end()

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


def _serve(megabytes: int) -> None:
    """Decode what comes on the standard input until it ends."""
    import resource  # not everywhere

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (megabytes * 2**20, megabytes * 2**20))
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
