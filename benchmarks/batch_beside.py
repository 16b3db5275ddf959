"""Interactive requests while a batch is worked on: their 99th percentile beside it, against alone.

    python -m benchmarks.batch_beside [--rounds 5] [--quick]

Four clients ask in turn for an image of mnist-gan and the score of an image; or one client for a line of text. The batch, of
thousands of lines, is under way all the time: of scores, images, images of a diffusion model, or texts of the same model.
"""

import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.fairness import ALL_LOADED, MODELS, short_requests
from benchmarks.harness import Comparison, interleaved
from benchmarks.load import Request, load
from benchmarks.results import installed, parse, publish
from benchmarks.servers import Served, ours
from benchmarks.stamps import shipped

BAR = 1.5
CLIENTS = 4
LINES = 4000
SCORE, DRAW, WRITE = "/v1/score", "/v1/images/generations", "/v1/completions"


def bodies(work: str) -> tuple[str, list[dict[str, Any]]]:
    """The endpoint and the bodies of a batch that takes far longer than it is looked at."""
    if work == "scores":
        rows = np.random.default_rng(0).random((3, 28, 28)).round(3).tolist()
        return SCORE, [{"model": "mnist-flow", "inputs": rows}] * LINES
    if work == "images":
        return DRAW, [{"model": "mnist-gan", "n": 20, "seed": i} for i in range(LINES)]
    if work == "diffusion":
        return DRAW, [{"model": "mnist-diffusion", "n": 4, "seed": i} for i in range(LINES)]
    text = {"model": "shakespeare-gpt", "prompt": "ROMEO:", "max_tokens": 400}
    return WRITE, [text | {"seed": i} for i in range(LINES)]


def texts() -> list[Request]:
    """Short texts of the model that the batch's texts are of."""
    head = {"content-type": "application/json"}
    body = {"model": "shakespeare-gpt", "prompt": "JULIET:", "max_tokens": 16}
    return [Request(WRITE, json.dumps(body | {"seed": i}).encode(), head) for i in range(16)]


@contextlib.contextmanager
def batch(served: Served, work: str, rates: list[float]) -> Iterator[None]:
    """A batch that is under way until the block ends, when it is cancelled. Adds the lines that it did in a second."""
    endpoint, asked = bodies(work)
    lines = ({"custom_id": str(i), "method": "POST", "url": endpoint, "body": body} for i, body in enumerate(asked))
    blob = "\n".join(map(json.dumps, lines)).encode()
    with httpx.Client(base_url=f"http://127.0.0.1:{served.port}/v1", timeout=60) as client:
        file = client.post("/files", files={"file": (f"{work}.jsonl", blob)}, data={"purpose": "batch"}).json()
        ask = {"input_file_id": file["id"], "endpoint": endpoint, "completion_window": "24h"}
        answer = client.post("/batches", json=ask)
        answer.raise_for_status()
        path = f"/batches/{answer.json()['id']}"
        _until(lambda: client.get(path).json()["request_counts"]["completed"] > 8)
        before, start = client.get(path).json()["request_counts"]["completed"], time.monotonic()
        try:
            yield
        finally:
            now = client.get(path).json()
            rates.append((now["request_counts"]["completed"] - before) / (time.monotonic() - start))
            client.post(f"{path}/cancel")
            _until(lambda: client.get(path).json()["status"] == "cancelled")
            ended = client.get(path).json()
            for file_id in filter(None, (file["id"], ended["output_file_id"], ended["error_file_id"])):
                client.delete(f"/files/{file_id}").raise_for_status()
    assert now["status"] == "in_progress", f"the batch is {now['status']}: there was nothing to measure beside"


def _until(so: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not so():
        if time.monotonic() > end:
            raise TimeoutError("the batch does not go on")
        time.sleep(0.05)


def main() -> None:
    options = parse(__doc__, rounds=5)
    seconds = 1.0 if options.quick else 6.0
    rates: dict[str, list[float]] = {}

    def short(served: Served) -> float:
        return 1e3 * load(served.port, served.pid, short_requests(), CLIENTS, seconds, least_bytes=50).p99

    def text(served: Served) -> float:
        return 1e3 * load(served.port, served.pid, texts(), 1, seconds, least_bytes=50).p99

    def beside(served: Served, work: str, measure: Callable[[Served], float]) -> float:
        with batch(served, work, rates.setdefault(f"{work}, {measure.__name__}", [])):
            return measure(served)

    pairs = [
        (short, "scores"),
        (short, "images"),
        (short, "diffusion"),
        (short, "texts"),
        (text, "texts"),
        (text, "images"),
    ]
    with tempfile.TemporaryDirectory() as folder:
        settings = {"AMOSTRA_BATCH_DIR": str(Path(folder) / "batches")}
        with ours(ALL_LOADED, settings=settings) as served:
            contenders = {"alone, short": lambda: short(served), "alone, text": lambda: text(served)}
            for measure, work in pairs:
                name = f"{work}, {measure.__name__}"
                contenders[name] = lambda work=work, measure=measure: beside(served, work, measure)
            figures = interleaved(contenders, 1 if options.quick else options.rounds)
    what = {"short": f"{CLIENTS} clients, images and scores", "text": "one client, texts of 16 tokens"}
    comparisons = [
        Comparison(
            f"{what[measure.__name__]}: p99 beside a batch of {work}",
            "beside",
            "alone",
            "ms",
            "lower",
            figures[f"{work}, {measure.__name__}"],
            figures[f"alone, {measure.__name__}"],
            BAR,
        )
        for measure, work in pairs
    ]
    went_on = "; ".join(f"{name}: {np.median(found):.1f}" for name, found in rates.items())
    if options.quick:
        print(*(f"{c.name}: {c.our_figure:.1f} against {c.peer_figure:.1f} ms" for c in comparisons), sep="\n")
        print(f"lines a second meanwhile: {went_on}")
        return
    about = (
        "A batch of thousands of lines is under way over HTTP while clients ask, default settings. Images of mnist-gan and "
        "scores of mnist-flow in turn; texts of shakespeare-gpt."
    )
    publish(
        "batch_beside",
        about,
        comparisons,
        installed("onnxruntime-gpu", "bentoml"),
        [f"Lines a second: {went_on}."],
        shipped(MODELS | {"mnist-diffusion": "denoise_step"}),
    )


if __name__ == "__main__":
    main()
