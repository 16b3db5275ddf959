"""LitServe: dynamic batching in `--workers` inference processes, ZeroMQ between them and the API server (`fast_queue`).

A draw comes as JSON, an image as base64 in JSON, its way for bytes; answers are raw float32.
"""

import base64

import litserve
import numpy as np
from fastapi import Request, Response

from benchmarks.peers.graph import Graph, Options, options


class Api(litserve.LitAPI):
    """Both kinds of work; rows of a batch are stacked here, because every row has one shape."""

    def __init__(self, asked: Options) -> None:
        super().__init__(max_batch_size=asked.batch, batch_timeout=asked.wait_ms / 1000)
        self.asked = asked

    def setup(self, device: str) -> None:
        self.graph = Graph(self.asked.graph, self.asked.threads, self.asked.spin)

    def decode_request(self, request: Request) -> np.ndarray:
        if self.asked.kind == "draw":
            return np.array([request["label"], request["seed"]])
        pixels = base64.b64decode(request["image"])
        return np.frombuffer(pixels, np.float32).reshape(1, self.asked.side, self.asked.side)

    def batch(self, inputs: list[np.ndarray]) -> np.ndarray:
        return np.stack(inputs)

    def predict(self, x: np.ndarray) -> np.ndarray:
        rows = x if self.max_batch_size > 1 else x[None]
        done = self.graph.draw(rows[:, 0].copy(), rows[:, 1]) if self.asked.kind == "draw" else self.graph.denoise(rows)
        return done if self.max_batch_size > 1 else done[0]

    def unbatch(self, output: np.ndarray) -> list[np.ndarray]:
        return list(output)

    def encode_response(self, output: np.ndarray) -> Response:
        return Response(output.tobytes(), media_type="application/octet-stream")


def main() -> None:
    asked = options()
    server = litserve.LitServer(
        Api(asked), accelerator="cpu", workers_per_device=asked.workers, fast_queue=True, timeout=60
    )
    server.run(port=asked.port, host="127.0.0.1", generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main()
