"""Loads a model in a process of its own first, which may die of it: for models from strangers.

A graph of a few bytes can ask for all the memory there is, on loading or at its first run, and native code that reads what a
stranger wrote can crash. Here that costs a process whose memory and time are bounded, and the model is refused by name.
"""

import json
import subprocess
import sys
from pathlib import Path

from service.settings import Settings

_REFUSED = 3
_PATIENCE = 5
"""Times AMOSTRA_HANG_SECONDS, for all that is read, checked and run once."""


def problem(directory: Path, settings: Settings) -> str | None:
    """Why a model directory cannot be loaded on a CPU within `settings.trial_mb`; None where it can."""
    command = [sys.executable, "-m", "service.trial", str(directory)]
    seconds = _PATIENCE * settings.hang_seconds
    expected = f"trial: expected a model that loads within {settings.trial_mb} MB and {seconds:g} s in its own process"
    said = settings.model_dump_json()
    try:
        done = subprocess.run(command, input=said, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return f"{expected}, found one that takes longer"
    if done.returncode == _REFUSED:
        return done.stdout.strip()
    last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
    return None if done.returncode == 0 else f"{expected}, found one that ended it with {done.returncode}: {last[:200]}"


def _try(directory: Path, settings: Settings) -> int:
    """Load it here, within its bounds."""
    import resource  # not everywhere

    from service.loading import load_model
    from service.sessions import ModelRefused

    most = settings.trial_mb * 2**20
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    try:
        load_model(directory, settings.model_copy(update={"trial_mb": 0}), "cpu")
    except ModelRefused as error:
        print(error)
        return _REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(_try(Path(sys.argv[1]), Settings(**json.loads(sys.stdin.read()))))
