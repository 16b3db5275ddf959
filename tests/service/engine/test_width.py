"""One thread or all cores: which session is used, and how the wide one comes about."""

import subprocess
import sys
from pathlib import Path

HOME = Path(__file__).parents[3]
ENDS_AT_ONCE = """
import sys
from pathlib import Path
import numpy as np
from contract import Capability
from service.loading import load_model
from service.settings import Settings

directory = Path("exported/mnist-gan/1").resolve()
runner = load_model(directory, Settings(provider="cpu", intra_op_threads=1, workers=2), "cpu").runners[Capability.DECODE]
runner._width.make({"z": np.zeros((1, 64), np.float32), "label": np.zeros(1, np.int64)})
"""


def test_a_process_may_end_while_it_is_made() -> None:
    """Not within the runtime, which would abort it."""
    done = subprocess.run([sys.executable, "-c", ENDS_AT_ONCE], cwd=HOME, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
