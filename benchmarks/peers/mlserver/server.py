"""MLServer: a custom runtime with adaptive batching, in `--workers` inference processes (0: in the server's own).

Its protocol in JSON: a draw as two INT64 tensors, an image as base64 in a BYTES tensor; answers are BYTES in base64.
"""

import base64
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, Parameters, ResponseOutput

from benchmarks.peers.graph import Graph, options


class Model(MLModel):
    """Both kinds of work."""

    async def load(self) -> bool:
        extra = self.settings.parameters.extra
        self.graph, self.side = Graph(extra["graph"], extra["threads"], extra["spin"]), extra["side"]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        given = {tensor.name: list(tensor.data) for tensor in payload.inputs}
        if "label" in given:
            images = self.graph.draw(np.array(given["label"]), np.array(given["seed"]))
        else:
            pixels = b"".join(map(base64.b64decode, given["image"]))
            images = self.graph.denoise(np.frombuffer(pixels, np.float32).reshape(-1, 1, self.side, self.side))
        texts = [base64.b64encode(image.tobytes()).decode() for image in images]
        output = ResponseOutput(
            name="image",
            shape=[len(texts), 1],
            datatype="BYTES",
            data=texts,
            parameters=Parameters(content_type="base64"),
        )
        return InferenceResponse(model_name=self.name, outputs=[output])


def main() -> None:
    asked = options()
    home = Path(tempfile.mkdtemp())
    settings = {
        "host": "127.0.0.1",
        "http_port": asked.port,
        "grpc_port": _beside(asked.port),
        "metrics_endpoint": None,
        "parallel_workers": asked.workers,
        "debug": False,
    }
    model = {
        "name": "peer",
        "implementation": "benchmarks.peers.mlserver.server.Model",
        "max_batch_size": asked.batch,
        "max_batch_time": asked.wait_ms / 1000,
        "parameters": {
            "extra": {"graph": asked.graph, "side": asked.side, "threads": asked.threads, "spin": asked.spin}
        },
    }
    (home / "settings.json").write_text(json.dumps(settings))
    (home / "model-settings.json").write_text(json.dumps(model))
    os.environ["PYTHONPATH"] = os.getcwd()
    os.execv(sys.executable, [sys.executable, "-m", "mlserver.cli.main", "start", str(home)])


def _beside(port: int) -> int:
    """Another free port."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
