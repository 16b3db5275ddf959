"""The store on disk: what counts as new, changed and gone, and when."""

from pathlib import Path

import pytest

from service.store import Fingerprint, Key, Store

KEY = ("digits", "1")


def write(root: Path, text: str = "a") -> None:
    (root / "digits" / "1").mkdir(parents=True, exist_ok=True)
    (root / "digits" / "1" / "manifest.json").write_text(text)


def now(root: Path) -> dict[Key, Fingerprint]:
    """What is there, as it is."""
    return Store(root).look({}, settled=True)[0]


def test_what_is_new_counts_when_it_lay_still_for_a_look(tmp_path: Path) -> None:
    store = Store(tmp_path)
    write(tmp_path)
    assert store.look({}, settled=False) == ({}, set())
    write(tmp_path, "still being copied")
    assert store.look({}, settled=False) == ({}, set())
    changed, gone = store.look({}, settled=False)
    assert (list(changed), gone) == ([KEY], set())
    assert changed == now(tmp_path)
    assert store.directory(KEY) == tmp_path / "digits" / "1"


def test_what_is_known_is_not_found_again_until_it_changes(tmp_path: Path) -> None:
    store = Store(tmp_path)
    write(tmp_path)
    known = now(tmp_path)
    assert store.look(known, settled=True) == ({}, set())
    write(tmp_path, "other content")
    changed, _ = store.look(known, settled=True)
    assert list(changed) == [KEY]


def test_what_is_missing_twice_is_gone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    write(tmp_path)
    known = now(tmp_path)
    (tmp_path / "digits" / "1").rename(tmp_path / "away")
    assert store.look(known, settled=False) == ({}, set())
    (tmp_path / "away").rename(tmp_path / "digits" / "1")
    assert store.look(known, settled=False) == ({}, set()), "it was being replaced"
    (tmp_path / "digits" / "1").rename(tmp_path / "away")
    assert store.look(known, settled=False) == ({}, set())
    assert store.look(known, settled=False) == ({}, {KEY})


def test_a_store_that_cannot_be_read_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path)
    known, store = now(tmp_path), Store(tmp_path / "unmounted")
    for _ in range(3):
        assert store.look(known, settled=False) == ({}, set())
    assert "cannot be read" in caplog.text
