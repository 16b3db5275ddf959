"""Workers of Ray write what one worker without it writes: make jobs-test."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.jobs.command import Command, bytes_of
from tests.toys import directories

pytest.importorskip("ray")
ROWS = ("generate", "--model", directories.PIXELS, "--rows", 300, "--shard-rows", 10)


def workers_of(pid: int) -> list[int]:
    """The processes of Ray's workers that descend from a command."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes()
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if line.startswith(b"ray::MapWorker") and _descends(parent, pid):
            found.append(int(folder.name))
    return found


def _descends(pid: int, ancestor: int) -> bool:
    while pid not in (0, 1, ancestor):
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return pid == ancestor


@pytest.mark.cluster
def test_two_workers_of_which_one_is_killed(command: Command) -> None:
    assert command(*ROWS, output=command.folder / "whole") == 0
    given = ["run", *ROWS, "--models", command.store, "--output", command.output, "--workers", 2]
    process = subprocess.Popen([sys.executable, "-m", "jobs", *map(str, given)], stdout=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while len(list(command.output.glob("part-*"))) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    workers = workers_of(process.pid)
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert said.splitlines()[-1].startswith("300 rows, none bad")
    assert bytes_of(command.output) == bytes_of(command.folder / "whole")


@pytest.mark.cluster
@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 75)])
def test_nothing_is_left_running(command: Command, number: int, code: int) -> None:
    given = ["run", *ROWS, "--models", command.store, "--output", command.output, "--workers", 2]
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs", *map(str, given)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    until = time.monotonic() + 120
    while not list(command.output.glob("part-*")) and time.monotonic() < until:
        time.sleep(0.01)
    workers = workers_of(process.pid)
    process.send_signal(number)
    assert process.wait(60) == code
    until = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
