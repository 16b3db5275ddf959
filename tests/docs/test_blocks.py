"""Every fenced block of the documentation does what its fence promises (pages.py); tutorials have a test of their own."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests import readme
from tests.docs.pages import ROOT, Block, blocks
from tests.docs.tutorials import walked

LANGUAGES = {"console", "python", "sh", "json", "toml", "yaml", "text", ""}
PAGES = sorted((ROOT / "docs").rglob("*.md"))
BLOCKS = [block for page in PAGES for block in blocks(page)]
READ = {"json": json.loads, "toml": tomllib.loads, "yaml": yaml.safe_load}


def of(language: str, *, walked_too: bool = False) -> list[Block]:
    pages = {*walked()}
    return [b for b in BLOCKS if b.language == language and (walked_too or b.page not in pages)]


@pytest.fixture
def desk(tmp_path: Path, shipped_service: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with the client's command on the path, and the service where it looks for one."""
    for name, value in readme.desk(shipped_service, tmp_path).items():
        monkeypatch.setenv(name, value)
    return tmp_path


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.id)
def test_a_fence_says_what_is_in_it(block: Block) -> None:
    assert block.language in LANGUAGES
    if block.language in READ:
        READ[block.language](block.body)


@pytest.mark.parametrize("block", of("console"), ids=lambda block: block.id)
def test_a_console_prints_what_the_page_says(block: Block, shipped_service: str, desk: Path) -> None:
    (steps,) = readme.blocks(f"```console\n{block.body}```\n")
    for step in steps:
        found = readme.run(step.command, shipped_service, desk, refusals=True)
        assert readme.same(found, step.output), f"{step.command}\nprinted\n{found}\nthe page says\n{step.output}"
    assert readme.changed_pictures(desk) == [], "the page shows others"


@pytest.mark.parametrize("page", sorted({b.page for b in of("python")}), ids=lambda page: page.stem)
def test_the_python_of_a_page_runs(page: Path, shipped_service: str, desk: Path) -> None:
    code = "\n".join(block.body for block in of("python") if block.page == page)
    for address in ("localhost:3000", "127.0.0.1:3000"):
        code = code.replace(f"http://{address}", shipped_service)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=desk, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", of("sh", walked_too=True), ids=lambda block: block.id)
def test_what_a_shell_block_names_exists(block: Block, tmp_path: Path) -> None:
    """Some need machines that a test has not: a registry, a cluster, an hour."""
    checked = subprocess.run(["bash", "-n", "-c", block.body], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    commands = re.sub(r"<<'?(\w+)'?\n.*?^\1$", "", block.body, flags=re.M | re.S)  # what is fed to a command is none
    for target in re.findall(r"^(?:\w+=\S+ )*make ([\w./-]+)", commands, re.M):
        known = re.compile(rf"^{re.escape(target)}:", re.M).search((ROOT / "Makefile").read_text())
        assert known, f"make {target}"
    for module in re.findall(r"python3? -m ([\w.]+)", commands):
        assert importlib.util.find_spec(module), f"python -m {module}"
    for word in re.findall(r"(?<!> )(?<![\w./-])[\w.-]+(?:/[\w.-]+)+(?![\w/:@])", commands):
        if (ROOT / word.split("/")[0]).is_dir() and not word.startswith("."):
            assert (ROOT / word).exists(), word


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_the_checks_see_what_is_wrong() -> None:
    (page,) = (p for p in PAGES if p.name == "deploy.md")
    for body in ("if true; then\n", "make no-such-target\n", "python -m no_such_module\n", "cat deploy/no/such.file\n"):
        with pytest.raises(AssertionError):
            test_what_a_shell_block_names_exists(Block(page, 1, "sh", body), page)
