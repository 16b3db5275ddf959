"""The wall clock may jump: it stamps what is written down for people, and measures nothing."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STAMPS = {"service/tracing.py", "service/logs.py"}
"""Spans and lines are stamped with the time of day, in other units than whole seconds."""


def readings(tree: ast.AST) -> list[int]:
    """Lines where the wall clock is read otherwise than as a stamp in whole seconds."""
    stamps = {
        id(node.args[0])
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "int" and node.args
    }
    names = {"time.time", "time.time_ns", "datetime.now", "datetime.datetime.now", "datetime.utcnow"}
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in names and id(node) not in stamps
    ]


@pytest.mark.parametrize("path", sorted((ROOT / "service").rglob("*.py")), ids=lambda path: path.name)
def test_intervals_are_measured_by_a_clock_that_does_not_jump(path: Path) -> None:
    if str(path.relative_to(ROOT)) not in STAMPS:
        assert readings(ast.parse(path.read_text("utf-8"))) == []


def test_a_reading_is_found() -> None:
    assert readings(ast.parse("import time\nstart = time.time()\nnow = int(time.time())")) == [2]
