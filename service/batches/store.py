"""What is known of files, batches and the lines that are done.

A connection and its statements belong to one thread (desk.py).
"""

import json
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from service.batches.database import open_database, transaction
from service.batches.records import OPEN, Batch, Status, StoredFile

_FILE = ", ".join(field.name for field in fields(StoredFile))
_BATCH = ", ".join(field.name for field in fields(Batch))
_OPEN = ", ".join(f"'{status}'" for status in OPEN)


class Full(Exception):
    """An owner may not keep so many bytes."""


class Store:
    """Opens the database, or makes it. `clock` tells Unix seconds. Raises StoreError, sqlite3.Error."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._db = open_database(path)

    def close(self) -> None:
        self._db.close()

    def now(self) -> int:
        """Unix seconds."""
        return int(self._clock())

    # Files

    def add_file(self, file_id: str, owner: str, filename: str, purpose: str, size: int, seconds: int) -> StoredFile:
        """Remember a file whose content is there."""
        now = self.now()
        file = StoredFile(file_id, owner, filename, purpose, size, now, now + seconds)
        marks = ", ".join("?" * len(fields(StoredFile)))
        values = [getattr(file, field.name) for field in fields(StoredFile)]
        self._db.execute(f"INSERT INTO files ({_FILE}) VALUES ({marks})", values)
        return file

    def file(self, owner: str, file_id: str) -> StoredFile | None:
        """An owner's file."""
        row = self._db.execute(f"SELECT {_FILE} FROM files WHERE id = ? AND owner = ?", (file_id, owner)).fetchone()
        return StoredFile(*row) if row else None

    def files(self, owner: str, limit: int, after: str | None, order: str, purpose: str | None) -> list[StoredFile]:
        """An owner's files, by age."""
        wheres, values = ["owner = ?"], [owner]
        if purpose is not None:
            wheres.append("purpose = ?")
            values.append(purpose)
        return [StoredFile(*row) for row in self._page("files", _FILE, wheres, values, limit, after, order)]

    def delete_file(self, owner: str, file_id: str) -> bool:
        """Forget a file that no open batch reads. Returns whether it is forgotten."""
        done = self._db.execute(
            f"DELETE FROM files WHERE id = ? AND owner = ? AND id NOT IN "
            f"(SELECT input_file_id FROM batches WHERE status IN ({_OPEN}))",
            (file_id, owner),
        )
        return done.rowcount > 0

    def kept(self, owner: str) -> tuple[int, int]:
        """How many files an owner has, and how many bytes in files and in results that are not yet in one."""
        count, size = self._db.execute("SELECT count(*), total(bytes) FROM files WHERE owner = ?", (owner,)).fetchone()
        (results,) = self._db.execute("SELECT total(result_bytes) FROM batches WHERE owner = ?", (owner,)).fetchone()
        return count, int(size + results)

    def file_ids(self) -> set[str]:
        """Of all owners."""
        return {file_id for (file_id,) in self._db.execute("SELECT id FROM files")}

    def expire(self, batch_seconds: int) -> list[str]:
        """Forget files whose time is over, unless an open batch reads them, and batches that ended so long ago. Returns the
        files' ids."""
        now = self.now()
        with transaction(self._db):
            rows = self._db.execute(
                f"DELETE FROM files WHERE expires_at <= ? AND id NOT IN "
                f"(SELECT input_file_id FROM batches WHERE status IN ({_OPEN})) RETURNING id",
                (now,),
            ).fetchall()
            self._db.execute(
                f"DELETE FROM batches WHERE created_at <= ? AND status NOT IN ({_OPEN})", (now - batch_seconds,)
            )
        return [file_id for (file_id,) in rows]

    # Batches

    def add_batch(
        self,
        owner: str,
        input_file_id: str,
        endpoint: str,
        window: str,
        seconds: int,
        metadata: dict[str, str] | None,
        output_seconds: int,
    ) -> Batch:
        """A new batch, to be validated; `seconds` are what its window means."""
        batch_id, now = f"batch_{secrets.token_hex(16)}", self.now()
        kept = None if metadata is None else json.dumps(metadata)
        self._db.execute(
            "INSERT INTO batches (id, owner, input_file_id, endpoint, completion_window, metadata, output_seconds, "
            "status, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, 'validating', ?, ?)",
            (batch_id, owner, input_file_id, endpoint, window, kept, output_seconds, now, now + seconds),
        )
        return self.known(batch_id)

    def batch(self, owner: str, batch_id: str) -> Batch | None:
        """An owner's batch."""
        row = self._db.execute(f"SELECT {_BATCH} FROM batches WHERE id = ? AND owner = ?", (batch_id, owner)).fetchone()
        return _batch(row) if row else None

    def known(self, batch_id: str) -> Batch:
        """A batch that exists."""
        return _batch(self._db.execute(f"SELECT {_BATCH} FROM batches WHERE id = ?", (batch_id,)).fetchone())

    def batches(self, owner: str, limit: int, after: str | None) -> list[Batch]:
        """An owner's batches, the youngest first."""
        return [_batch(row) for row in self._page("batches", _BATCH, ["owner = ?"], [owner], limit, after, "desc")]

    def count_batches(self, owner: str) -> int:
        """How many batches an owner has."""
        return self._db.execute("SELECT count(*) FROM batches WHERE owner = ?", (owner,)).fetchone()[0]

    def open_batches(self) -> list[Batch]:
        """Those that there is still something to do for, the oldest first."""
        rows = self._db.execute(f"SELECT {_BATCH} FROM batches WHERE status IN ({_OPEN}) ORDER BY number")
        return [_batch(row) for row in rows]

    def counts(self) -> dict[str, int]:
        """How many batches are in each state, and as `bytes` what all files and results take."""
        counts = dict(self._db.execute("SELECT status, count(*) FROM batches GROUP BY status").fetchall())
        (size,) = self._db.execute(
            "SELECT (SELECT total(bytes) FROM files) + (SELECT total(result_bytes) FROM batches)"
        ).fetchone()
        return {**counts, "bytes": int(size)}

    def begin(self, batch_id: str, total: int) -> Batch:
        """Its file is sound: validating becomes in_progress."""
        self._db.execute(
            "UPDATE batches SET status = 'in_progress', total = ?, in_progress_at = ? "
            "WHERE id = ? AND status = 'validating'",
            (total, self.now(), batch_id),
        )
        return self.known(batch_id)

    def cancel(self, batch_id: str) -> Batch:
        """Where it is not at its end yet, it becomes cancelling."""
        self._db.execute(
            "UPDATE batches SET status = 'cancelling', ending = 'cancelled', cancelling_at = ? "
            "WHERE id = ? AND status IN ('validating', 'in_progress')",
            (self.now(), batch_id),
        )
        return self.known(batch_id)

    def finalize(self, batch_id: str, ending: Status, errors: list[dict[str, Any]] | None = None) -> Batch:
        """Nothing more is asked for, and its files are written next; one that is cancelled stays so."""
        self._db.execute(
            "UPDATE batches SET status = 'finalizing', ending = ?, errors = ?, finalizing_at = ? "
            "WHERE id = ? AND status IN ('validating', 'in_progress')",
            (ending, None if errors is None else json.dumps(errors), self.now(), batch_id),
        )
        return self.known(batch_id)

    def end(
        self, batch_id: str, output: tuple[str, int] | None, error: tuple[str, int] | None, unanswered: int
    ) -> Batch:
        """Its files are there (id and bytes of each) or there was nothing to write; `unanswered` lines failed for lack of
        an answer. The results are forgotten with the same stroke."""
        batch, now = self.known(batch_id), self.now()
        assert batch.ending is not None, "whoever ends a batch has said how before"
        with transaction(self._db):
            for made, name in ((output, "output"), (error, "error")):
                if made is not None:
                    filename = f"{batch_id}_{name}.jsonl"
                    self.add_file(made[0], batch.owner, filename, "batch_output", made[1], batch.output_seconds)
            self._db.execute(
                f"UPDATE batches SET status = ending, {batch.ending}_at = ?, output_file_id = ?, error_file_id = ?, "
                "failed = failed + ?, result_bytes = 0 WHERE id = ?",
                (now, output and output[0], error and error[0], unanswered, batch_id),
            )
            self._db.execute("DELETE FROM results WHERE batch_id = ?", (batch_id,))
        return self.known(batch_id)

    # Results

    def add_result(self, batch_id: str, line: int, good: bool, written: bytes, most_bytes: int) -> bool:
        """Keep what came of a line, unless that is known already. Returns whether it was not.

        Raises Full where its owner would keep more than `most_bytes`.
        """
        with transaction(self._db):
            (owner,) = self._db.execute("SELECT owner FROM batches WHERE id = ?", (batch_id,)).fetchone()
            if self.kept(owner)[1] + len(written) > most_bytes:
                raise Full
            done = self._db.execute(
                "INSERT INTO results (batch_id, line, good, written) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (batch_id, line, good, written),
            )
            if not done.rowcount:
                return False
            self._db.execute(
                "UPDATE batches SET completed = completed + ?, failed = failed + ?, result_bytes = result_bytes + ? "
                "WHERE id = ?",
                (int(good), int(not good), len(written), batch_id),
            )
        return True

    def done(self, batch_id: str) -> set[int]:
        """The numbers of the lines that have a result."""
        return {line for (line,) in self._db.execute("SELECT line FROM results WHERE batch_id = ?", (batch_id,))}

    def results(self, batch_id: str) -> Iterator[tuple[int, bool, bytes, bool]]:
        """Number, success and text of each line that has a result, in the order of the input; and that it has one."""
        rows = self._db.execute("SELECT line, good, written FROM results WHERE batch_id = ? ORDER BY line", (batch_id,))
        for line, good, written in rows:
            yield line, bool(good), written, True

    def _page(
        self, table: str, columns: str, wheres: list[str], values: list[Any], limit: int, after: str | None, order: str
    ) -> Iterable[tuple]:
        if after is not None:
            wheres = [*wheres, f"number {'<' if order == 'desc' else '>'} (SELECT number FROM {table} WHERE id = ?)"]
            values = [*values, after]
        where = " AND ".join(wheres)
        return self._db.execute(
            f"SELECT {columns} FROM {table} WHERE {where} ORDER BY number {order.upper()} LIMIT ?", [*values, limit]
        )


def _batch(row: tuple) -> Batch:
    known = dict(zip((field.name for field in fields(Batch)), row, strict=True))
    for name in ("metadata", "errors"):
        known[name] = None if known[name] is None else json.loads(known[name])
    return Batch(**known)
