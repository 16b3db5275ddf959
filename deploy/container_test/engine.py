"""A Docker engine: the machine's, or one that is installed, started and stopped here.

An engine of our own keeps everything in a folder that is deleted, so that nothing is left of it but Debian's package.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path

from deploy.container_test.shell import CommandFailed, run, succeeds, until


class NoEngine(RuntimeError):
    """There is no engine, and none can be started."""


@contextlib.contextmanager
def engine() -> Iterator[str]:
    """An engine with the compose plugin, for `docker` in this process and its children; yields what it is."""
    folder = Path(tempfile.mkdtemp(prefix="amostra-containers-"))
    before = dict(os.environ)
    # The classic builder takes base images that are only in the engine; BuildKit may ask a registry about them.
    os.environ["DOCKER_BUILDKIT"] = "0"
    try:
        with contextlib.ExitStack() as stack:
            whose = "the machine's engine"
            if not succeeds("docker", "info"):
                stack.enter_context(_own(folder))
                whose = "an engine of its own"
            _plugin(folder)
            yield whose
    finally:
        os.environ.clear()
        os.environ.update(before)
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _own(folder: Path) -> Iterator[None]:
    if os.geteuid() != 0:
        raise NoEngine("no Docker engine answers `docker info`, and only root can start one: start it, or be root")
    if shutil.which("dockerd") is None:
        install("docker.io")
    bridge = Path("/sys/class/net/docker0").exists()
    os.environ["DOCKER_HOST"] = f"unix://{folder}/docker.sock"
    with (folder / "dockerd.log").open("wb") as log:
        daemon = subprocess.Popen(
            [
                *("dockerd", "-H", os.environ["DOCKER_HOST"], "-p", folder / "pid"),
                *("--data-root", folder / "data", "--exec-root", folder / "exec"),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        try:
            until(lambda: daemon.poll() is not None or succeeds("docker", "info"), 60, "dockerd")
        finally:
            if daemon.poll() is not None:
                raise NoEngine(f"dockerd ended:\n{(folder / 'dockerd.log').read_text()[-2000:]}")
        yield
    finally:
        daemon.terminate()
        try:
            daemon.wait(60)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
        succeeds("umount", folder / "exec/netns/default")
        if not bridge:
            succeeds("ip", "link", "del", "docker0")


def install(*packages: str) -> None:
    """Install packages of the system. Raises NoEngine where it has no apt."""
    if shutil.which("apt-get") is None:
        raise NoEngine(f"{', '.join(packages)}: expected them installed, or a system with apt-get to install them")
    command = ("apt-get", "install", "-y", "--no-install-recommends", *packages)
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        run(*command, env=quiet)
    except CommandFailed:  # lists that are old, or not there at all
        run("apt-get", "update")
        run(*command, env=quiet)


def _plugin(folder: Path) -> None:
    """`docker compose`, where the engine's own is missing."""
    if succeeds("docker", "compose", "version"):
        return
    home = folder / "compose"
    venv.create(home, with_pip=True)
    wanted = Path(__file__).with_name("compose.txt")
    run(home / "bin/pip", "install", "--quiet", "--require-hashes", "--no-deps", "-r", wanted)
    plugins = folder / "config/cli-plugins"
    plugins.mkdir(parents=True)
    (plugins / "docker-compose").symlink_to(home / "bin/docker-compose")
    os.environ["DOCKER_CONFIG"] = str(folder / "config")
    print(run("docker", "compose", "version").strip(), file=sys.stderr)
