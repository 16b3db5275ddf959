"""KServe's own client runs every graph of every shipped model. It needs an environment of its own, which is made once.

python -m tests.e2e.kserve_check
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.environments import environment
from tests.e2e.server import ROOT, Server
from tests.e2e.test_triton_client import GRAPHS, NAMES, direct, tensors_for

HERE = Path(__file__).parent


def main() -> int:
    """Write what ONNX Runtime gives, start a server, and have the client compare; its exit status."""
    python = environment("kserve", HERE / "kserve.txt")
    with tempfile.TemporaryDirectory() as folder:
        for name, graph in zip(NAMES, GRAPHS, strict=True):
            inputs = tensors_for(*graph)
            arrays = {f"in.{n}": a for n, a in inputs.items()} | {
                f"out.{n}": a for n, a in direct(*graph, inputs).items()
            }
            np.savez(Path(folder, f"{name}.npz"), **arrays)
        server = Server(ROOT / "exported", Path(folder))
        try:
            server.start()
            server.until("/readyz", 200)
            return subprocess.run([python, HERE / "kserve_client.py", server.url, folder]).returncode
        finally:
            server.kill()


if __name__ == "__main__":
    sys.exit(main())
