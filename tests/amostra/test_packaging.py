"""What the client needs, and what it must do without."""

import subprocess
import sys
import tomllib
from pathlib import Path

import amostra
from amostra.exchange import VERSION
from tests.service.test_imports import ROOT, files_of, imported

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
ALLOWED = {"amostra", "httpx", "numpy"}
LAZY = {"PIL": "pictures.py", "pyarrow": "sent.py"}
"""Imported by those who need them, where they need them."""


def test_it_imports_httpx_and_numpy_only() -> None:
    for path in files_of("amostra"):
        lazy = {module for module, file in LAZY.items() if file == path.name}
        assert set(imported(path)) <= set(sys.stdlib_module_names) | ALLOWED | lazy, path


def test_it_is_installed_with_httpx_and_numpy_only() -> None:
    names = {requirement.partition(">")[0] for requirement in PROJECT["project"]["dependencies"]}
    assert names == {"httpx", "numpy"}
    packages = {str(path.parent.relative_to(ROOT)).replace("/", ".") for path in files_of("amostra")}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == packages
    assert (Path(amostra.__file__).parent / "py.typed").exists()


def test_its_version_is_the_project_s() -> None:
    assert PROJECT["project"]["version"] == VERSION


def test_it_runs_where_nothing_else_is_installed() -> None:
    """Neither the serving side, nor what it and the command line may use beside the client's own dependencies."""
    code = """
import sys

class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("contract", "service", "training", "torch", "PIL", "pyarrow", "bentoml", "pydantic"):
            raise ImportError(f"{name} is not installed")

sys.meta_path.insert(0, Nowhere())
import httpx, numpy as np
from amostra import Client
from amostra.cli import main
png = httpx.Response(200, text='data: {"b64_json": "", "index": 0, "model": "m"}\\n\\n')
client = Client("http://amostra", transport=httpx.MockTransport(lambda request: png))
for call in (lambda: list(client.generate_stream()), lambda: client.score(type("Table", (), {"__arrow_c_stream__": 1})())):
    try:
        call()
    except ImportError as error:
        print(error)
print(main(["--url", "http://127.0.0.1:9", "--retries", "0", "models"]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "pictures need Pillow: pip install pillow",
        "tables need pyarrow: pip install pyarrow, or send CSV or Parquet as bytes",
        "3",
    ]
