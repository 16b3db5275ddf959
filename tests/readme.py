"""The README's console blocks: run them, and compare or renew what they print.

python -m tests.readme http://127.0.0.1:3000     # renews the outputs and pictures, with a service running there
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
VOLATILE = re.compile(r'("created": ?|cmpl-|urn:amostra:request:)[0-9a-f]+')
NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")


@dataclass(frozen=True)
class Step:
    """A command and what it printed."""

    command: str
    output: str


def blocks(text: str) -> list[list[Step]]:
    """The steps of each console block: a line with `$ ` is a command, what follows its output."""
    found = []
    for block in BLOCK.findall(text):
        parts = re.split(r"^\$ (.*)\n", block, flags=re.MULTILINE)[1:]
        found.append([Step(c, o) for c, o in zip(parts[::2], parts[1::2], strict=True)])
    return found


def desk(url: str, folder: Path) -> dict[str, str]:
    """Prepare a folder to work in, with the documentation's pictures. Returns an environment with the client's command on
    its path, which looks for the service at url."""
    command = folder / "bin" / "amostra"
    if not command.exists():
        (folder / "docs").symlink_to(ROOT / "docs")
        command.parent.mkdir()
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -m amostra "$@"\n')
        command.chmod(0o755)
    path = f"{command.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "AMOSTRA_URL": url}


def run(command: str, url: str, folder: Path) -> str:
    """Run a command of the README against the service at url. Raises where it fails."""
    address = url.removeprefix("http://")
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command.replace("localhost:3000", address)],
        cwd=folder,
        env=desk(url, folder),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    # A pipe that is closed early (head, cut) ends curl with 23; what matters is what came through.
    if done.returncode not in (0, 23) or "curl:" in done.stderr:
        raise RuntimeError(f"{command}\nended with {done.returncode}: {done.stderr}{done.stdout}")
    return done.stdout if done.stdout.endswith("\n") or not done.stdout else done.stdout + "\n"


def same(found: str, written: str) -> bool:
    """Whether two outputs are the same but for ids, times and the last digits of fractions."""
    found, written = VOLATILE.sub(r"\1", found), VOLATILE.sub(r"\1", written)
    if NUMBER.sub("#", found) != NUMBER.sub("#", written):
        return False
    pairs = zip(NUMBER.findall(found), NUMBER.findall(written), strict=True)
    return all(abs(float(a) - float(b)) <= 1e-2 * max(1e-2, abs(float(b))) for a, b in pairs)


def renew(url: str) -> None:
    """Write what the commands print now into the README, and the pictures that they save beside the others."""
    text = README.read_text("utf-8")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def block(match: re.Match) -> str:
            steps = blocks(match.group(0))[0]
            return "```console\n" + "".join(f"$ {s.command}\n{run(s.command, url, folder)}" for s in steps) + "```"

        README.write_text(BLOCK.sub(block, text), "utf-8")
        for picture in folder.glob("*.png"):
            if f"docs/pictures/{picture.name}" in text:
                shutil.copy(picture, ROOT / "docs/pictures" / picture.name)


if __name__ == "__main__":
    renew(sys.argv[1])
