"""What is remembered: each line's result once, by owner, whatever ends the process."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.batches.database import StoreError
from service.batches.store import Full, Store

ME, OTHER = "me", "other"
MUCH = 10**9


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.5

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    store = Store(tmp_path / "batches.sqlite3", clock)
    yield store
    store.close()


def begun(store: Store, total: int = 10, owner: str = ME) -> str:
    store.add_file(f"file-{store.counts()}", owner, "a", "batch", 1, 1000)
    batch = store.add_batch(owner, "file-1", "/v1/score", "24h", 86_400, None, 1000)
    return store.begin(batch.id, total).id


def test_a_result_counts_once(store: Store) -> None:
    batch_id = begun(store)
    assert store.add_result(batch_id, 3, True, b"first", MUCH)
    assert not store.add_result(batch_id, 3, True, b"again", MUCH)
    assert not store.add_result(batch_id, 3, False, b"again", MUCH)
    store.add_result(batch_id, 1, False, b"bad", MUCH)
    batch = store.known(batch_id)
    assert (batch.completed, batch.failed) == (1, 1)
    assert store.done(batch_id) == {1, 3}
    assert list(store.results(batch_id)) == [(1, False, b"bad", True), (3, True, b"first", True)]


def test_results_and_files_share_one_bound(store: Store) -> None:
    batch_id = begun(store)
    store.add_file("file-x", ME, "x", "batch", 50, 1000)
    before = store.kept(ME)[1]
    assert store.add_result(batch_id, 1, True, b"y" * 40, before + 40)
    with pytest.raises(Full):
        store.add_result(batch_id, 2, True, b"y", before + 40)
    assert store.done(batch_id) == {1}
    assert store.kept(ME)[1] == before + 40
    assert store.kept(OTHER) == (0, 0)


def test_the_end_takes_the_results_along_and_leaves_files(store: Store) -> None:
    batch_id = begun(store, total=3)
    store.add_result(batch_id, 1, True, b"y" * 40, MUCH)
    store.finalize(batch_id, "completed")
    batch = store.end(batch_id, ("file-out", 40), None, 2)
    assert (batch.status, batch.completed, batch.failed) == ("completed", 1, 2)
    assert (batch.output_file_id, batch.error_file_id) == ("file-out", None)
    assert store.done(batch_id) == set()
    assert store.file(ME, "file-out") is not None
    assert store.open_batches() == []


def test_states_go_one_way(store: Store) -> None:
    batch_id = begun(store)
    assert store.begin(batch_id, 99).total == 10
    assert store.cancel(batch_id).status == "cancelling"
    assert store.finalize(batch_id, "completed").status == "cancelling"
    assert store.end(batch_id, None, None, 0).status == "cancelled"
    assert store.cancel(batch_id).status == "cancelled"


def test_an_input_stays_while_it_is_read(store: Store, clock: Clock) -> None:
    store.add_file("file-in", ME, "in", "batch", 1, 100)
    batch = store.add_batch(ME, "file-in", "/v1/score", "24h", 86_400, {"a": "b"}, 100)
    assert batch.metadata == {"a": "b"}
    clock.now += 1000
    assert store.expire(500) == []
    assert not store.delete_file(ME, "file-in")
    store.cancel(batch.id)
    store.end(batch.id, None, None, 0)
    assert not store.delete_file(OTHER, "file-in")
    assert store.expire(500) == ["file-in"]
    assert store.batch(ME, batch.id) is None


def test_owners_do_not_see_each_other(store: Store) -> None:
    store.add_file("file-a", ME, "a", "batch", 1, 100)
    batch = store.add_batch(ME, "file-a", "/v1/score", "24h", 1, None, 1)
    assert store.file(OTHER, "file-a") is None
    assert store.batch(OTHER, batch.id) is None
    assert store.files(OTHER, 10, None, "desc", None) == store.batches(OTHER, 10, None) == []
    assert store.count_batches(OTHER) == 0


def test_a_database_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "later.sqlite3"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="found 99"):
        Store(path)


def test_what_is_kept_outlives_a_kill(tmp_path: Path) -> None:
    """A process that ends in the middle of its writing leaves whole results, and counts that go with them."""
    path = tmp_path / "batches.sqlite3"
    code = (
        "import os, sys; from pathlib import Path; from service.batches.store import Store\n"
        "store = Store(Path(sys.argv[1]))\n"
        "batch = store.begin(store.add_batch('me', 'f', '/v1/score', '24h', 9, None, 9).id, 10**6)\n"
        "print(batch.id, flush=True)\n"
        "for line in range(10**6):\n"
        "    store.add_result(batch.id, line, True, b'x' * 100, 10**12)\n"
        "    if line == 500: os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == -9, done.stderr
    store = Store(path)
    (batch,) = store.open_batches()
    assert batch.id == done.stdout.strip()
    assert batch.completed == len(store.done(batch.id)) == 501
    assert store.kept("me")[1] == 50_100
    store.close()
