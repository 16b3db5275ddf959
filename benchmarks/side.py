"""A contender in a process of its own: each line that it is sent makes it run once and answer with one line of JSON.

The standard library alone is imported, for a peer's environment may have nothing else of ours.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parent.parent


def answer(run: Callable[..., dict[str, Any]]) -> None:
    """Serve a Side: `run` is called with what each line holds, and returns what is answered."""
    out, sys.stdout = sys.stdout, sys.stderr  # whatever a library prints must not stand between answers
    print(json.dumps("ready"), file=out, flush=True)
    for line in sys.stdin:
        print(json.dumps(run(**json.loads(line))), file=out, flush=True)


class Side:
    """Runs `python -m <module> <arguments>` and asks it. Use as a context manager."""

    def __init__(
        self, python: Path | str, module: str, *arguments: object, environment: Mapping[str, str] | None = None
    ) -> None:
        command = [str(python), "-m", module, *map(str, arguments)]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=None if environment is None else dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._name = " ".join(command[1:])
        self._read()

    def __call__(self, **ask: Any) -> dict[str, Any]:
        """Run once. Raises RuntimeError where the process has ended."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(ask) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._name} ended with {self._process.wait()}: its messages are above")
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
