"""Files on the disk: whole or not at all, and a directory for one process alone."""

import subprocess
import sys
from pathlib import Path

import pytest

from service.batches.contents import Contents, InUse


def test_only_what_is_kept_stays(tmp_path: Path) -> None:
    contents = Contents(tmp_path)
    with contents.begin() as kept:
        kept.write(b"whole")
        assert not contents.path(kept.id).exists()
        kept.keep()
    with contents.begin() as lost:
        lost.write(b"half")
    assert contents.path(kept.id).read_bytes() == b"whole"
    assert not contents.path(lost.id).exists()
    assert list((tmp_path / "incoming").iterdir()) == []
    contents.remove(kept.id)
    contents.remove(kept.id)
    assert not contents.path(kept.id).exists()
    contents.close()


def test_what_nobody_knows_is_swept(tmp_path: Path) -> None:
    contents = Contents(tmp_path)
    ids = []
    for _ in range(2):
        with contents.begin() as writing:
            writing.keep()
            ids.append(writing.id)
    (tmp_path / "incoming/left-over").write_bytes(b"half")
    contents.sweep(ids[:1])
    assert [path.name for path in (tmp_path / "files").iterdir()] == ids[:1]
    assert list((tmp_path / "incoming").iterdir()) == []
    contents.close()


def test_another_process_is_kept_out_until_this_one_ends(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from service.batches.contents import Contents\n"
        "contents = Contents(Path(sys.argv[1])); print('mine', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "mine\n"
        with pytest.raises(InUse, match="AMOSTRA_BATCH_DIR"):
            Contents(tmp_path)
        other.kill()
    Contents(tmp_path).close()
