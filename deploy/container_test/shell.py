"""Commands, and waiting for what they bring about."""

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class CommandFailed(RuntimeError):
    """A command that ended with an error, with the end of what it wrote."""


def run(
    *command: str | Path,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    seconds: float = 300,
    check: bool = True,
) -> str:
    """Run a command in the repository's root and return its output. Raises CommandFailed."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if check else subprocess.DEVNULL,
        text=True,
        timeout=seconds,
        check=False,
    )
    if check and done.returncode:
        raise CommandFailed(f"{_shown(command)} ended with {done.returncode}:\n{done.stdout[-3000:]}")
    return done.stdout


def succeeds(*command: str | Path, env: Mapping[str, str] | None = None) -> bool:
    """Whether a command is there and ends well."""
    try:
        run(*command, env=env)
    except (CommandFailed, OSError, subprocess.TimeoutExpired):
        return False
    return True


def until(true: Callable[[], Any], seconds: float, what: str) -> Any:
    """Wait for something that is true, and return it. Errors of the network count as not yet. Raises TimeoutError."""
    end, found = time.monotonic() + seconds, None
    while time.monotonic() < end:
        try:
            if found := true():
                return found
        except (OSError, CommandFailed) as error:
            found = error
        time.sleep(0.3)
    raise TimeoutError(f"{what}: not within {seconds:g} s; last found {found!r}")


def _shown(command: Sequence[str | Path]) -> str:
    return " ".join(str(part) for part in command)[:200]
