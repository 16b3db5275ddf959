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

import numpy as np
from PIL import Image

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PICTURES = ROOT / "docs" / "pictures"
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


def run(command: str, url: str, folder: Path, *, refusals: bool = False) -> str:
    """Run a command of a page against the service at url. Raises where it fails; with `refusals` only where the last part
    of its pipe does."""
    address = url.removeprefix("http://")
    strict = [] if refusals else ["-o", "pipefail"]
    done = subprocess.run(
        ["bash", *strict, "-c", command.replace("localhost:3000", address)],
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


def changed_pictures(folder: Path) -> list[str]:
    """Those of the pictures in a folder that are not the ones that the documentation shows, by more than a rounding."""
    changed = []
    for picture in folder.glob("*.png"):
        shown = PICTURES / picture.name
        if shown.exists():
            difference = np.asarray(Image.open(picture), int) - np.asarray(Image.open(shown), int)
            if np.abs(difference).max() > 2:
                changed.append(picture.name)
    return changed


def renew(url: str, page: Path = README, *, refusals: bool = False) -> None:
    """Write what the commands print now into a page, and the pictures that they save beside the others."""
    text = page.read_text("utf-8")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def block(match: re.Match) -> str:
            (steps,) = blocks(match.group(0))
            told = (f"$ {s.command}\n{run(s.command, url, folder, refusals=refusals)}" for s in steps)
            return "```console\n" + "".join(told) + "```"

        page.write_text(BLOCK.sub(block, text), "utf-8")
        for picture in folder.glob("*.png"):
            if f"pictures/{picture.name}" in text:
                shutil.copy(picture, PICTURES / picture.name)


if __name__ == "__main__":
    renew(sys.argv[1])
