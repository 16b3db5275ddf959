"""Processor time of one request that asks for nothing: our whole stack against bare Starlette.

python -m benchmarks.http_overhead [--rounds 5] [--quick]
"""

import contextlib
import sys
import tempfile
from pathlib import Path

from benchmarks.echo import MODEL, write_echo
from benchmarks.harness import Comparison, interleaved
from benchmarks.load import Request, load
from benchmarks.results import installed, parse, publish
from benchmarks.servers import Served, free_port, ours, serving
from benchmarks.works import DENOISER_28, GAN

CLIENTS = 16
WHAT = """An image of 28 × 28 float32 values (3 KB, `application/x-npy`) is sent and comes back, 16 clients; the figure is the
processor time of the server with all its children for one request, by the kernel. *Engine* is the service as `make serve`
starts it with a model whose graph is one Identity: body, checks, job, scheduler, batch, runner, answer. Bare Starlette runs on
uvicorn with uvloop and httptools."""


def main() -> None:
    options = parse(__doc__, rounds=5)
    seconds = 0.5 if options.quick else 4.0
    work = DENOISER_28
    sent = work.requests(MODEL)
    echoed = [Request("/echo", request.body, request.headers) for request in sent]
    drawn = GAN.requests(MODEL)
    with contextlib.ExitStack() as stack:
        stores = {w.name: Path(stack.enter_context(tempfile.TemporaryDirectory())) for w in (work, GAN)}
        for w in (work, GAN):
            write_echo(stores[w.name], w)
        port = free_port()
        uvicorn = ["benchmarks.echoes.starlette:app", "--port", str(port), "--no-access-log", "--log-level", "warning"]
        uvicorn += ["--loop", "uvloop", "--http", "httptools"]
        bare = stack.enter_context(serving([sys.executable, "-m", "uvicorn", *uvicorn], port, echoed[0]))
        engine = stack.enter_context(ours(sent[0], stores[work.name]))
        drawing = stack.enter_context(ours(drawn[0], stores[GAN.name]))

        def microseconds(served: Served, requests: list[Request]) -> float:
            return 1e6 * load(served.port, served.pid, requests, CLIENTS, seconds, work.answer_bytes).cpu

        contenders = {
            "bare": lambda: microseconds(bare, echoed),
            "engine": lambda: microseconds(engine, sent),
            "drawing": lambda: microseconds(drawing, drawn),
        }
        figures = interleaved(contenders, 1 if options.quick else options.rounds)
    rows = [
        ("whole stack, through the engine", "engine", 3.0),
        ("whole stack, a label and a seed to draw from instead of an image", "drawing", None),
    ]
    comparisons = [
        Comparison(name, "Amostra", "Starlette", "µs", "lower", figures[key], figures["bare"], bar)
        for name, key, bar in rows
    ]
    if options.quick:
        return
    publish("http_overhead", WHAT, comparisons, installed("starlette", "uvicorn", "bentoml", "uvloop", "httptools"))


if __name__ == "__main__":
    main()
