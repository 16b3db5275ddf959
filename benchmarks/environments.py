"""An environment of its own for each peer, made once under `.venv-peers/`: their requirements need not agree with ours.

python -m benchmarks.environments [peer …]
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

PEERS = Path(__file__).parent / "peers"
HOME = Path(__file__).parents[1] / ".venv-peers"

NEEDS_SYSTEM_PYTHON = {"triton"}
"""Its Python backend is linked against the system's libpython, and fails with another build of the same version."""


class NoPython(RuntimeError):
    """No interpreter here can make a peer's environment."""


def environment(peer: str, requirements: Path | None = None) -> Path:
    """The Python of a peer's environment, which is made where there is none or its requirements have changed: those given,
    or the ones that lie beside its server.

    Raises NoPython, or subprocess.CalledProcessError with pip's output in `pip.log` of the environment.
    """
    requirements = requirements or PEERS / peer / "requirements.txt"
    home = HOME / peer
    python, stamp = home / "bin" / "python", home / "made-from.txt"
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    maker = _system_python() if peer in NEEDS_SYSTEM_PYTHON else sys.executable
    subprocess.run([maker, "-m", "venv", "--clear", str(home)], check=True)
    pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "-r", str(requirements)]
    with (home / "pip.log").open("wb") as log:
        subprocess.run(pip, check=True, stdout=log, stderr=subprocess.STDOUT)
    stamp.write_text(wanted)
    return python


def versions(peer: str, *names: str) -> dict[str, str]:
    """The versions of these distributions in a peer's environment."""
    code = "import json, sys; from importlib.metadata import version; print(json.dumps({n: version(n) for n in sys.argv[1:]}))"
    done = subprocess.run([environment(peer), "-c", code, *names], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def _system_python() -> str:
    """The distribution's interpreter of our version. Raises NoPython."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for folder in ("/usr/bin", "/usr/local/bin"):
        found = Path(folder, name)
        if found.exists() and not subprocess.run([found, "-c", "import ensurepip"], capture_output=True).returncode:
            return str(found)
    raise NoPython(f"expected the system's {name} with its venv module in /usr/bin: install {name}-venv")


def main() -> None:
    for peer in sys.argv[1:] or sorted(path.parent.name for path in PEERS.glob("*/requirements.txt")):
        print(f"{peer}: {environment(peer)}", flush=True)


if __name__ == "__main__":
    main()
