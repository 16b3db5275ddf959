"""What may import what: the serving side knows neither torch nor the training side."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OF_THE_CONTRACT = set(sys.stdlib_module_names) | {"contract", "pydantic"}
NOT_IN_THE_SCHEDULER = {"asyncio", "time", "datetime", "threading", "onnxruntime", "onnx"}


def imported(path: Path) -> Iterator[str]:
    """Top-level names of everything that a file imports, at any depth of its code."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield (node.module or "").partition(".")[0]


def files_of(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", ["contract", "service"])
def test_the_serving_side_imports_neither_torch_nor_training(package: str) -> None:
    files = files_of(package)
    assert files
    guilty = {path.name: found for path in files if (found := {"torch", "training", "tests"} & set(imported(path)))}
    assert guilty == {}


def test_the_contract_imports_pydantic_and_the_standard_library_only() -> None:
    for path in files_of("contract"):
        assert set(imported(path)) <= OF_THE_CONTRACT, path.name


def test_the_contract_does_not_know_who_uses_it() -> None:
    assert not any("service" in set(imported(path)) for path in files_of("contract"))


def test_the_scheduler_knows_no_runtime_and_no_clock() -> None:
    assert not NOT_IN_THE_SCHEDULER & set(imported(ROOT / "service/engine/scheduler.py"))


@pytest.mark.parametrize("part", ["tasks", "samplers", "engine", "codecs"])
def test_only_the_http_side_knows_http(part: str) -> None:
    for path in files_of(f"service/{part}"):
        assert not {"starlette", "bentoml", "httpx"} & set(imported(path)), path.name


def test_a_running_service_has_no_torch() -> None:
    """Libraries import one another too: ask a process that has everything loaded."""
    code = (
        "import sys, service.app, service.loading; "
        "from tokenizers import Tokenizer; "
        "print([name for name in ('torch', 'training', 'lightning', 'sklearn', 'datasets') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "[]"
