"""Random requests, sound and broken, made from the OpenAPI document, against the service with toy models.

    python -m fuzz.api [--examples 500]

Every check of Schemathesis but one: `positive_data_acceptance` takes a refusal of what the document allows for a mistake,
and some rules stand in no schema (alpha or fdr, a mask of the image's size, base64 of a real picture).
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.environments import environment
from benchmarks.load import Request
from benchmarks.servers import ours
from tests.toys import directories

HERE = Path(__file__).parent
READY = Request("/readyz", method="GET")
CONFIG = """[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429, "5xx"]

[parameters]
"path.id" = "mnist-gan"
"path.name" = "toy-table.log_density"
"path.version" = "1"
"""


def main() -> int:
    """Run it; what Schemathesis returns."""
    parser = argparse.ArgumentParser(description="Random requests against the service.")
    parser.add_argument("--examples", type=int, default=500, help="for each operation, beside the systematic ones")
    options = parser.parse_args()
    program = environment("schemathesis", HERE / "schemathesis.txt").parent / "schemathesis"
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "schemathesis.toml"
        config.write_text(CONFIG)
        settings = {"AMOSTRA_BATCH_DIR": f"{folder}/batches"}
        with ours(READY, directories.write_store(Path(folder) / "store"), settings=settings) as served:
            command = [str(program), "--config-file", str(config), "--no-color", "run"]
            command += [f"http://127.0.0.1:{served.port}/openapi.json", "--phases", "examples,coverage,fuzzing"]
            command += ["--checks", "all", "--exclude-checks", "positive_data_acceptance", "--continue-on-failure"]
            command += ["--max-examples", str(options.examples), "--request-timeout", "30"]
            hooks = os.environ | {"SCHEMATHESIS_HOOKS": "fuzz.hooks"}
            return subprocess.run(["nice", "-n", "19", *command], env=hooks, cwd=HERE.parent).returncode


if __name__ == "__main__":
    sys.exit(main())
