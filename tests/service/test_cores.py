"""The cores that may be used: fewer than the machine has, where somebody said so."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.cores import _cores_of_process, beside_first, keep_to_one, usable, use_all


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    has_cores(monkeypatch, set(range(8)))
    yield
    _cores_of_process.cache_clear()


def has_cores(monkeypatch: pytest.MonkeyPatch, cores: set[int]) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores, raising=False)
    _cores_of_process.cache_clear()


def written(folder: Path, line: str, **groups: str) -> int:
    """The cores of a process of these groups, which are named with `__` for a slash."""
    for name, text in groups.items():
        place = folder / "fs" / name.replace("__", "/")
        place.mkdir(parents=True, exist_ok=True)
        (place / "cpu.max").write_text(text)
    own = folder / "cgroup"
    own.write_text(line)
    return usable(folder / "fs", own)


@pytest.mark.parametrize(
    ("said", "cores"),
    [("max 100000", 8), ("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("9900000 100000", 8)],
)
def test_the_quota_of_a_container_counts(tmp_path: Path, said: str, cores: int) -> None:
    (tmp_path / "fs").mkdir()
    (tmp_path / "fs" / "cpu.max").write_text(f"{said}\n")
    (tmp_path / "own").write_text("0::/\n")
    assert usable(tmp_path / "fs", tmp_path / "own") == cores


def test_the_smallest_quota_of_all_groups_above_counts(tmp_path: Path) -> None:
    own = "0::/kubepods/pod/box\n"
    assert written(tmp_path, own, kubepods="400000 100000", kubepods__pod="max 100000") == 4
    assert written(tmp_path, own, kubepods__pod__box="300000 100000") == 3


def test_the_first_version_of_control_groups_counts_too(tmp_path: Path) -> None:
    place = tmp_path / "fs" / "cpu"
    place.mkdir(parents=True)
    (place / "cpu.cfs_quota_us").write_text("300000\n")
    (place / "cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / "own").write_text("5:memory:/a\n4:cpu,cpuacct:/a\n")
    assert usable(tmp_path / "fs", tmp_path / "own") == 3
    (place / "cpu.cfs_quota_us").write_text("-1\n")
    assert usable(tmp_path / "fs", tmp_path / "own") == 8


@pytest.mark.parametrize("text", ["", "nonsense", "100000", "1 0"])
def test_files_that_say_nothing_bound_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "fs").mkdir()
    (tmp_path / "fs" / "cpu.max").write_text(text)
    (tmp_path / "own").write_text("0::/\n")
    assert usable(tmp_path / "fs", tmp_path / "own") == 8


def test_no_files_bound_nothing(tmp_path: Path) -> None:
    assert usable(tmp_path, tmp_path / "missing") == 8


def test_affinity_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    has_cores(monkeypatch, {3, 5})
    assert usable(tmp_path, tmp_path / "missing") == 2


def test_workers_follow_it_unless_something_is_said() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
    code += "from service.settings import Settings; print(Settings().workers, Settings(workers=7).workers)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1 7\n"


def in_threads(count: int, of: int) -> str:
    """What a process of two cores sees: the cores of threads that keep to one, of one that such a thread starts, of another
    that takes all again, and of its first one."""
    code = f"""
import os, threading
from service.cores import keep_to_one, use_all
os.sched_getaffinity, real = (lambda pid: {{4, 6}} if pid else kept.cores), os.sched_getaffinity
class Kept(threading.local):
    cores = {{4, 6}}
kept, found = Kept(), []
os.sched_setaffinity = lambda pid, cores: setattr(kept, "cores", set(cores))
def work(number):
    keep_to_one(number, {of})
    found.append(sorted(os.sched_getaffinity(0)))
    if number == 0:
        use_all()
        found.append(sorted(os.sched_getaffinity(0)))
for number in range({count}):
    thread = threading.Thread(target=work, args=(number,))
    thread.start()
    thread.join()
print(found)
"""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_threads_keep_to_a_core_each_where_there_are_as_many() -> None:
    assert in_threads(2, of=2) == "[[4], [4, 6], [6]]"


def test_fewer_or_more_threads_than_cores_go_where_they_like() -> None:
    assert in_threads(1, of=1) == "[[4, 6], [4, 6]]"
    assert in_threads(3, of=3) == "[[4, 6], [4, 6], [4, 6], [4, 6]]"


def test_a_system_that_forbids_it_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setaffinity", forbidden, raising=False)
    keep_to_one(0, 8)
    use_all()


def test_a_system_without_affinities_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    _cores_of_process.cache_clear()
    keep_to_one(0, 2)
    use_all()


def test_the_other_threads_of_a_session_are_on_the_other_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    has_cores(monkeypatch, {6, 4, 9})
    assert beside_first(3) == [6, 9]
    assert beside_first(2) is None
    assert beside_first(4) is None
    has_cores(monkeypatch, {4})
    assert beside_first(1) is None
