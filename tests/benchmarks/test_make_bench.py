"""Every benchmark that `make bench` names can be started."""

import importlib
import re
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[2] / "Makefile"
NAMES = (
    re.search(r"^BENCHMARKS := ((?:.*\\\n)*.*)$", MAKEFILE.read_text(), re.MULTILINE)[1].replace("\\\n", " ").split()
)


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_can_be_started(name: str) -> None:
    assert callable(importlib.import_module(f"benchmarks.{name}").main)
