"""A fresh checkout for a tutorial: the repository's files, its two environments as `make` would have set them up, and
nothing that anybody trained. Blocks run in it as a person would type them.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

from tests import readme
from tests.docs.pages import ROOT, Block
from tests.e2e.server import free_port

NOT_OURS = {".git", ".venv", ".venv-dev", ".venv-peers", "runs", "report", ".bentoml", ".hypothesis", "training"}
"""`training` is copied, for pages that write into it."""
LENT = ROOT / ".venv-peers" / "optimum"
"""An environment that takes long to make."""
SECONDS = 900
"""What a tutorial may take."""
_SERVE = re.compile(r"^(?:\w+=\S+ )*make serve$", re.M)
_RECIPE = re.compile(r"(-m training run \S+)")


class Checkout:
    """`steps` replaces the number of training steps; without it, a recipe's own are taken."""

    def __init__(self, folder: Path, steps: int | None = None) -> None:
        self.folder = folder
        self.steps = steps
        self.port = free_port()
        self._server: subprocess.Popen | None = None
        folder.mkdir(parents=True, exist_ok=True)
        for entry in ROOT.iterdir():
            if entry.name not in NOT_OURS:
                (folder / entry.name).symlink_to(entry)
        shutil.copytree(ROOT / "training", folder / "training", ignore=shutil.ignore_patterns("__pycache__"))
        for name in (".venv", ".venv-dev"):
            (folder / name).mkdir()
            for entry in Path(sys.prefix).iterdir():
                if entry.name != "ready":
                    (folder / name / entry.name).symlink_to(entry)
            (folder / name / "ready").touch()
        if LENT.exists():
            _lend(LENT, folder / ".venv-optimum")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def run(self, block: Block) -> None:
        """Run a block, and compare what a console shows."""
        if block.language == "console":
            (steps,) = readme.blocks(f"```console\n{block.body}```\n")
            for step in steps:
                found = self.shell(step.command, block)
                assert alike(found, step.output), (
                    f"{block.id}: {step.command}\nprinted\n{found}\nthe page says\n{step.output}"
                )
        elif block.language == "sh":
            if _SERVE.search(block.body):
                self._serve(block)
            else:
                self.shell(block.body, block)
        elif block.language == "python":
            self.shell(f".venv-dev/bin/python - <<'END-OF-BLOCK'\n{block.body}\nEND-OF-BLOCK", block)

    def shell(self, command: str, block: Block) -> str:
        """What it prints. Raises AssertionError where it fails."""
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", self._ours(command)],
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        # A pipe that is closed early (head, cut) ends curl with 23.
        assert done.returncode in (0, 23), f"{block.id}: {command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout if done.stdout.endswith("\n") or not done.stdout else done.stdout + "\n"

    def stop(self) -> None:
        """End the service, as Ctrl-C does."""
        if self._server is None:
            return
        try:
            os.killpg(self._server.pid, signal.SIGTERM)
            self._server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait(10)
        except ProcessLookupError:
            pass
        self._server = None

    def _serve(self, block: Block) -> None:
        """In a terminal of its own, until it is ready."""
        self.stop()
        log = self.folder / "serve.log"
        with log.open("wb") as stream:
            self._server = subprocess.Popen(
                ["bash", "-c", self._ours(block.body)],
                cwd=self.folder,
                env=self._environment(),
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        end, found = time.monotonic() + 180, None
        while found != 200:
            assert self._server.poll() is None, f"{block.id}: the service ended:\n{log.read_text()[-3000:]}"
            assert time.monotonic() < end, f"{block.id}: /readyz: {found}\n{log.read_text()[-3000:]}"
            time.sleep(0.2)
            try:
                found = httpx.get(self.url + "/readyz", timeout=5).status_code
            except httpx.TransportError as error:
                found = error

    def _ours(self, text: str) -> str:
        """The same command, on our port, with fewer steps."""
        text = text.replace("localhost:3000", f"127.0.0.1:{self.port}")
        return text if self.steps is None else _RECIPE.sub(rf"\1 --train.steps {self.steps}", text)

    def _environment(self) -> dict[str, str]:
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("AMOSTRA_", "BENTOML_", "PYTEST_"))}
        path = f"{self.folder / '.venv-dev' / 'bin'}:{kept.get('PATH', '')}"
        return {**kept, "PATH": path, "PORT": str(self.port), "BENTOML_HOME": str(self.folder / ".bentoml")}


def _lend(environment: Path, place: Path) -> None:
    """An environment that is there already, for commands that would make it and install into it: real folders, as `venv`
    wants them, whose entries are links."""
    place.mkdir()
    packages = next((environment / "lib").glob("python*")) / "site-packages"
    for folder in (Path("bin"), packages.relative_to(environment)):
        (place / folder).mkdir(parents=True)
        for entry in (environment / folder).iterdir():
            (place / folder / entry.name).symlink_to(entry)


_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
_HASH = re.compile(r"\b[0-9a-f]{12,}\b")


def alike(found: str, written: str) -> bool:
    """Whether two outputs are the same but for numbers and hashes, which depend on how long one trains."""
    found, written = (_NUMBER.sub("#", _HASH.sub("#", readme.VOLATILE.sub("#", text))) for text in (found, written))
    return found == written
