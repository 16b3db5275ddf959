"""BentoML's own adaptive batching: `batchable=True` on `@bentoml.api`, with what costs and helps nobody here turned off.

A draw comes as [[label, seed]] in JSON, an image as base64 in a list of strings in JSON, which its parser takes faster than
thousands of numbers; answers are base64 in JSON likewise.
"""

import base64
import os
import sys

import bentoml
import numpy as np

from benchmarks.peers.graph import Graph, options

_BATCH, _WORKERS = int(os.environ.get("PEER_BATCH", "2")), int(os.environ.get("PEER_WORKERS", "1"))
# The dispatcher drops what takes longer; under a closed loop of 64 clients nothing should.
_LATENCY_MS = 10_000


@bentoml.service(
    workers=_WORKERS,
    traffic={"timeout": 60},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": ".*"},
)
class Peer:
    """Both kinds of work."""

    def __init__(self) -> None:
        self.graph = Graph(os.environ["PEER_GRAPH"], int(os.environ["PEER_THREADS"]), os.environ["PEER_SPIN"])
        self.side = int(os.environ["PEER_SIDE"])

    @bentoml.api(batchable=True, max_batch_size=_BATCH, max_latency_ms=_LATENCY_MS)
    def draw(self, asks: list[list[int]]) -> list[str]:
        labels, seeds = np.array(asks).T
        return _texts(self.graph.draw(labels.copy(), seeds))

    @bentoml.api(batchable=True, max_batch_size=_BATCH, max_latency_ms=_LATENCY_MS)
    def denoise(self, images: list[str]) -> list[str]:
        x = np.frombuffer(b"".join(map(base64.b64decode, images)), np.float32)
        return _texts(self.graph.denoise(x.reshape(-1, 1, self.side, self.side)))


def _texts(images: np.ndarray) -> list[str]:
    return [base64.b64encode(image.tobytes()).decode() for image in images]


def main() -> None:
    asked = options()
    os.environ.update(
        PEER_GRAPH=asked.graph,
        PEER_SIDE=str(asked.side),
        PEER_THREADS=str(asked.threads),
        PEER_SPIN=asked.spin,
        PEER_BATCH=str(asked.batch),
        PEER_WORKERS=str(asked.workers),
        BENTOML_DO_NOT_TRACK="True",
    )
    command = [sys.executable, "-m", "bentoml", "serve", "benchmarks.peers.bentoml.server:Peer"]
    os.execv(sys.executable, [*command, "--host", "127.0.0.1", "--port", str(asked.port), "--timeout-keep-alive", "75"])


if __name__ == "__main__":
    main()
