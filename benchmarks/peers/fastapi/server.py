"""A plain FastAPI route on uvicorn: a session call in a route, a thread of the pool or a process for each request under way.

Bodies are parsed by pydantic (draw) or taken as raw float32 (denoise); answers are raw float32. `--batch` is not used: a plain
route has no batches. `--inline` calls the session in the event loop, `--workers` are processes.
"""

import os

import numpy as np
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel

from benchmarks.peers.graph import Graph, options

OCTETS = "application/octet-stream"


class Ask(BaseModel):
    """A class, and where chance begins."""

    label: int
    seed: int


def create() -> FastAPI:
    """The application of one process; its options come in the environment, because uvicorn starts it anew in each."""
    graph = Graph(os.environ["PEER_GRAPH"], int(os.environ["PEER_THREADS"]), os.environ["PEER_SPIN"])
    side, inline = int(os.environ["PEER_SIDE"]), bool(os.environ["PEER_INLINE"])
    app = FastAPI()

    def draw(ask: Ask) -> Response:
        image = graph.draw(np.array([ask.label]), np.array([ask.seed]))
        return Response(image.tobytes(), media_type=OCTETS)

    def denoise(body: bytes) -> Response:
        image = np.frombuffer(body, np.float32).reshape(1, 1, side, side)
        return Response(graph.denoise(image).tobytes(), media_type=OCTETS)

    @app.post("/draw")
    async def draw_route(ask: Ask) -> Response:
        return draw(ask) if inline else await run_in_threadpool(draw, ask)

    @app.post("/denoise")
    async def denoise_route(request: Request) -> Response:
        body = await request.body()
        return denoise(body) if inline else await run_in_threadpool(denoise, body)

    return app


def main() -> None:
    asked = options()
    os.environ.update(
        PEER_GRAPH=asked.graph,
        PEER_SIDE=str(asked.side),
        PEER_THREADS=str(asked.threads),
        PEER_SPIN=asked.spin,
        PEER_INLINE="yes" * asked.inline,
    )
    uvicorn.run(
        "benchmarks.peers.fastapi.server:create",
        factory=True,
        port=asked.port,
        workers=asked.workers,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
