"""NVIDIA Triton, started by PyTriton: dynamic batching in the server, `--workers` instances of the Python function.

Its protocol with binary tensors, in and out.
"""

import signal
import socket
import threading

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from benchmarks.peers.graph import Graph, options


def main() -> None:
    asked = options()
    shape = (1, asked.side, asked.side)

    def instance() -> object:
        graph = Graph(asked.graph, asked.threads, asked.spin)

        @batch
        def draw(label: np.ndarray, seed: np.ndarray) -> dict[str, np.ndarray]:
            return {"image": graph.draw(label[:, 0].copy(), seed[:, 0])}

        @batch
        def denoise(x: np.ndarray) -> dict[str, np.ndarray]:
            return {"image": graph.denoise(x)}

        return draw if asked.kind == "draw" else denoise

    number = Tensor(dtype=np.int64, shape=(1,))
    inputs = (
        [
            Tensor(name="label", dtype=number.dtype, shape=number.shape),
            Tensor(name="seed", dtype=number.dtype, shape=(1,)),
        ]
        if asked.kind == "draw"
        else [Tensor(name="x", dtype=np.float32, shape=shape)]
    )
    delay = DynamicBatcher(max_queue_delay_microseconds=round(1000 * asked.wait_ms))
    config = TritonConfig(
        http_address="127.0.0.1", http_port=asked.port, allow_grpc=False, metrics_port=_free(asked.port), log_verbose=0
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="peer",
            infer_func=[instance() for _ in range(asked.workers)],
            inputs=inputs,
            outputs=[Tensor(name="image", dtype=np.float32, shape=shape)],
            config=ModelConfig(max_batch_size=asked.batch, batcher=delay),
            strict=False,
        )
        triton.run()
        ended = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: ended.set())
        ended.wait()


def _free(taken: int) -> int:
    """A port that nobody listens on, and that is not the one on which this server is about to."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    return port if port != taken else _free(taken)


if __name__ == "__main__":
    main()
