"""Ray Serve: `@serve.batch` in `--workers` replicas, in the mode that its guide gives for throughput.

A draw comes as JSON, an image as raw float32; answers are raw float32.
"""

import os
import signal
import threading

# https://docs.ray.io/en/latest/serve/advanced-guides/performance.html
os.environ["RAY_SERVE_THROUGHPUT_OPTIMIZED"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import numpy as np
import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from benchmarks.peers.graph import Graph, Options, options


def deployment(asked: Options) -> serve.Application:
    """The one deployment."""

    @serve.deployment(
        num_replicas=asked.workers,
        max_ongoing_requests=256,
        ray_actor_options={"num_cpus": 0.5},
    )
    class Model:
        def __init__(self) -> None:
            self.graph = Graph(asked.graph, asked.threads, asked.spin)

        @serve.batch(max_batch_size=asked.batch, batch_wait_timeout_s=asked.wait_ms / 1000)
        async def draw(self, asks: list[tuple[int, int]]) -> list[bytes]:
            labels, seeds = np.array(asks).T
            return [image.tobytes() for image in self.graph.draw(labels.copy(), seeds)]

        @serve.batch(max_batch_size=asked.batch, batch_wait_timeout_s=asked.wait_ms / 1000)
        async def denoise(self, bodies: list[bytes]) -> list[bytes]:
            x = np.frombuffer(b"".join(bodies), np.float32).reshape(-1, 1, asked.side, asked.side)
            return [image.tobytes() for image in self.graph.denoise(x)]

        async def __call__(self, request: Request) -> Response:
            if asked.kind == "draw":
                ask = await request.json()
                done = await self.draw((ask["label"], ask["seed"]))
            else:
                done = await self.denoise(await request.body())
            return Response(done, media_type="application/octet-stream")

    return Model.bind()


def main() -> None:
    asked = options()
    ray.init(include_dashboard=False, log_to_driver=False, num_cpus=4)
    serve.start(http_options={"host": "127.0.0.1", "port": asked.port}, logging_config={"enable_access_log": False})
    serve.run(deployment(asked), route_prefix="/")
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    ended.wait()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
