"""The README is true: its commands run and print what it says."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import readme

BLOCKS = readme.blocks(readme.README.read_text("utf-8"))


@pytest.mark.parametrize("steps", BLOCKS, ids=[b[0].command[8:60] for b in BLOCKS])
def test_commands_print_what_the_readme_says(steps, shipped_service: str, tmp_path: Path) -> None:
    for step in steps:
        found = readme.run(step.command, shipped_service, tmp_path)
        assert readme.same(found, step.output), f"{step.command}\nprinted\n{found}\nthe README says\n{step.output}"
    assert readme.changed_pictures(tmp_path) == [], "the README shows others"


def test_python_example_runs(shipped_service: str) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", readme.README.read_text("utf-8"), re.DOTALL)
    names: dict = {}
    example = example.replace("localhost:3000", shipped_service.removeprefix("http://"))
    exec(compile(example, "README.md", "exec"), names)
    assert names["picture"]
    assert names["sevens"].shape == (16, 1, 28, 28)
    assert names["images"].shape == (4, 1, 28, 28)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(
    "target", ["serve", "test", "lint", "train", "bench", "soak", "chaos", "audit", "sbom", "fuzz"]
)
def test_make_targets_exist(target: str) -> None:
    done = subprocess.run(["make", "-n", target], cwd=readme.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", readme.README.read_text("utf-8")):
        assert target.startswith("https://") or (readme.ROOT / target).exists(), target
