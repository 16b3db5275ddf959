"""Short requests while long ones run: their 99th percentile among long texts and images by the thousand, against alone.

    python -m benchmarks.fairness [--rounds 5] [--quick]

Four clients ask in turn for an image of mnist-gan and the score of an image. The company: four texts of 2,000 tokens and one
request for 1,000 images, each sent again when it has ended: of the same model, mnist-gan, or of one that computes for minutes.
"""

import contextlib
import io
import json
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException

import numpy as np

from benchmarks.harness import Comparison, interleaved
from benchmarks.load import Request, load
from benchmarks.results import installed, parse, publish
from benchmarks.servers import Served, ours
from benchmarks.stamps import shipped

CLIENTS, TEXTS = 4, 4
BAR = 2.0
NPY = "application/x-npy"
MODELS = {"mnist-gan": "decode", "mnist-flow": "log_density", "shakespeare-gpt": "next_token"}
"""What is asked for here and elsewhere, and by which graph it is answered."""
ALL_LOADED = Request("/readyz", method="GET")
COMPANY = {"GAN": ("mnist-gan", 1000), "diffusion": ("mnist-diffusion", 1000)}


def short_requests() -> list[Request]:
    """Images to draw and images to score, in turn."""
    rng, found = np.random.default_rng(0), []
    for seed in range(16):
        draw = {"model": "mnist-gan", "label": seed % 10, "seed": seed}
        head = {"content-type": "application/json", "accept": NPY}
        found.append(Request("/v1/images/generations", json.dumps(draw).encode(), head))
        stream = io.BytesIO()
        np.save(stream, rng.random((28, 28), np.float32))
        found.append(Request("/v1/score?model=mnist-flow", stream.getvalue(), {"content-type": NPY}))
    return found


def long_requests(model: str, images: int) -> list[Request]:
    """Texts, and images by the thousand."""
    head = {"content-type": "application/json", "accept": NPY}
    draw = {"model": model, "n": images, "seed": 0}
    text = {"model": "shakespeare-gpt", "prompt": "ROMEO:", "max_tokens": 2000, "seed": 0}
    texts = [Request("/v1/completions", json.dumps(text | {"seed": i}).encode(), head) for i in range(TEXTS)]
    return [*texts, Request("/v1/images/generations", json.dumps(draw).encode(), head)]


@contextlib.contextmanager
def company(port: int, requests: list[Request]) -> Iterator[None]:
    """Each of the requests under way all the time, on a thread of its own, until the block ends."""
    over, failed = threading.Event(), list[str]()
    connections = [HTTPConnection("127.0.0.1", port) for _ in requests]

    def repeat(connection: HTTPConnection, request: Request) -> None:
        while not over.is_set():
            try:
                connection.request(request.method, request.path, request.body, request.headers)
                answer = connection.getresponse()
                body = answer.read()
            except (OSError, HTTPException):  # the end: what is under way then is cut off
                return
            if answer.status != 200:
                failed.append(f"{answer.status} {body[:200]!r}")
                return

    for connection, request in zip(connections, requests, strict=True):
        connection.connect()
        threading.Thread(target=repeat, args=(connection, request), daemon=True).start()
    try:
        yield
    finally:
        over.set()
        for connection in connections:
            connection.sock.shutdown(socket.SHUT_RDWR)
    if failed:
        raise AssertionError(f"the company was refused: {failed[0]}")


def p99(served: Served, seconds: float) -> float:
    """Of the short requests, in milliseconds."""
    return 1e3 * load(served.port, served.pid, short_requests(), CLIENTS, seconds, least_bytes=50).p99


def main() -> None:
    options = parse(__doc__, rounds=5)
    seconds = 1.0 if options.quick else 6.0

    def among(served: Served, model: str, images: int) -> float:
        with company(served.port, long_requests(model, 20 if options.quick else images)):
            return p99(served, seconds)

    with ours(ALL_LOADED) as served:
        contenders = {"alone": lambda: p99(served, seconds)}
        for name, (model, images) in COMPANY.items():
            contenders[name] = lambda model=model, images=images: among(served, model, images)
        figures = interleaved(contenders, 1 if options.quick else options.rounds)
    if options.quick:
        return
    comparisons = [
        Comparison(
            f"p99 among {TEXTS} long texts and {images:,} images of {model}",
            "in company",
            "alone",
            "ms",
            "lower",
            figures[name],
            figures["alone"],
            BAR,
        )
        for name, (model, images) in COMPANY.items()
    ]
    what = f"{CLIENTS} clients draw an image of mnist-gan and score an image of mnist-flow in turn, over HTTP, default settings."
    graphs = shipped(MODELS | {"mnist-diffusion": "denoise_step"})
    publish("fairness", what, comparisons, installed("onnxruntime-gpu", "bentoml"), graphs=graphs)


if __name__ == "__main__":
    main()
