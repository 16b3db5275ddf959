"""A section names the commit and the graphs that it was measured with."""

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from benchmarks import stamps
from benchmarks.one_shot_limit import WORKS


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """One commit, of a file and of a page of results."""
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "code.py").write_text("before")
    (tmp_path / "benchmarks" / "RESULTS.md").write_text("none")
    author = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    for arguments in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "One"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    return tmp_path


def test_a_commit_is_named_and_what_it_has_not_is_marked(repository: Path) -> None:
    git = ["git", "rev-parse", "--short", "HEAD"]
    head = subprocess.run(git, cwd=repository, check=True, capture_output=True, text=True).stdout.strip()
    (repository / "unknown.txt").write_text("a file that git does not know")
    assert stamps.commit(repository) == head
    (repository / "benchmarks" / "RESULTS.md").write_text("a section that was just published")
    assert stamps.commit(repository) == head
    (repository / "code.py").write_text("after")
    assert stamps.commit(repository) == head + "+"


def test_where_there_is_no_repository_no_commit_is_named(tmp_path: Path) -> None:
    assert stamps.commit(tmp_path / "none") == "unknown"


def test_a_tree_that_changes_under_a_benchmark_is_marked() -> None:
    assert stamps.measured_at("abc", "abc") == "abc"
    assert stamps.measured_at("abc+", "abc+") == "abc+"
    assert {stamps.measured_at(begun, ended) for begun in ("abc", "abc+") for ended in ("def", "def+")} == {"abc+"}


def test_graphs_go_by_their_own_bytes(tmp_path: Path) -> None:
    directory = tmp_path / "model" / "1"
    directory.mkdir(parents=True)
    refs = {
        "decode": {"file": "decode.onnx", "external_data": [{"file": "weights.bin"}]},
        "encode": {"file": "encode.onnx", "external_data": [{"file": "weights.bin"}]},
    }
    (directory / "manifest.json").write_text(json.dumps({"capabilities": refs}))
    for file in ("decode.onnx", "encode.onnx", "weights.bin"):
        (directory / file).write_text(file)
    digests = {
        f"model/{file}": hashlib.sha256(file.encode()).hexdigest()[:12]
        for file in ("decode.onnx", "weights.bin", "encode.onnx")
    }
    assert stamps.graphs(directory) == digests
    assert list(stamps.graphs(directory, "decode")) == ["model/decode.onnx", "model/weights.bin"]


def test_shipped_graphs_have_the_hashes_of_their_manifests() -> None:
    for work in WORKS:
        listed = json.loads((work.graph.parent / "manifest.json").read_text())["capabilities"][work.graph.stem]
        assert list(work.graphs.values()) == [listed["sha256"][:12]]
        assert stamps.shipped({work.model: work.graph.stem}) == work.graphs
