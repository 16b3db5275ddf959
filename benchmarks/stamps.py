"""What a section was measured with: the commit, and the graphs that were run, so that figures of two trees can be told apart."""

import functools
import hashlib
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIGITS = 12
SHIPPED = ROOT / "exported"


def commit(root: Path = ROOT) -> str:
    """The short hash of the commit that is checked out, with a '+' where files that git knows differ from it.

    The page of results may differ: the benchmarks before have written there.
    """
    status = ["status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)benchmarks/RESULTS.md"]
    try:
        head = _git(root, "rev-parse", "--short", "HEAD")
        return head + "+" * bool(_git(root, *status))
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


@functools.cache
def begin() -> str:
    """The commit when it was first asked for, which benchmarks do when they begin: servers start from the tree later too."""
    return commit()


def measured_at(begun: str, ended: str) -> str:
    """One commit for a time: the one at its begin, with a '+' where the tree changed meanwhile."""
    return begun if begun == ended else begun.rstrip("+") + "+"


def graphs(directory: Path, *capabilities: str) -> dict[str, str]:
    """The first digits of the SHA-256 of a model's graphs and of weights in files of their own, by model and file. All of its
    graphs where none are named."""
    listed = json.loads((directory / "manifest.json").read_text())["capabilities"]
    refs = [ref for name in capabilities or listed for ref in (listed[name], *listed[name]["external_data"])]
    files = dict.fromkeys(ref["file"] for ref in refs)
    return {
        f"{directory.parent.name}/{file}": hashlib.sha256((directory / file).read_bytes()).hexdigest()[:DIGITS]
        for file in files
    }


def shipped(models: Mapping[str, str]) -> dict[str, str]:
    """The same of one graph of each of these models that come with the code: capabilities by model."""
    return {
        key: digest for model, name in models.items() for key, digest in graphs(SHIPPED / model / "1", name).items()
    }


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()
