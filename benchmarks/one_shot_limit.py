"""A one-shot model over HTTP under load, against what the graph and the transport alone would allow.

    python -m benchmarks.one_shot_limit [--rounds 5] [--quick]

Each image needs the graph's time and the transport's; on the same cores the two add up: 1/(1/raw + 1/echo) images a second.
"""

import contextlib
import tempfile
from pathlib import Path

from benchmarks.echo import MODEL, write_echo
from benchmarks.harness import Comparison, interleaved
from benchmarks.load import load
from benchmarks.results import installed, parse, publish
from benchmarks.servers import ours
from benchmarks.works import WORKS, Work, best_batch, raw_rate

CLIENTS = 64
BAR = 0.85
WHAT = f"""{CLIENTS} clients ask for one image at a time. The limit is 1/(1/raw + 1/echo): *raw* is ONNX Runtime alone, with the graph
as the service gives it, at its best batch size, one single-threaded session for each core, all at once; *echo* is our own service with a model of the same inputs
and outputs that computes nothing."""


def measure(work: Work, rounds: int, seconds: float) -> tuple[Comparison, str]:
    """The comparison of one work, and a remark about what its limit is made of."""
    rows = best_batch(work, seconds / 8)
    with contextlib.ExitStack() as stack:
        store = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_echo(store, work)
        asked, echoed = work.requests(), work.requests(MODEL)
        served = stack.enter_context(ours(asked[0]))
        echo = stack.enter_context(ours(echoed[0], store))
        figures = interleaved(
            {
                "raw": lambda: raw_rate(work, rows, seconds / 2),
                "echo": lambda: load(echo.port, echo.pid, echoed, CLIENTS, seconds, work.answer_bytes).rate,
                "served": lambda: load(served.port, served.pid, asked, CLIENTS, seconds, work.answer_bytes).rate,
            },
            rounds,
        )
    limits = [1 / (1 / raw + 1 / echo) for raw, echo in zip(figures["raw"], figures["echo"], strict=True)]
    compared = Comparison(work.name, "Amostra", "limit", "images/s", "higher", figures["served"], limits, BAR)
    parts = Comparison(work.name, "echo", "raw", "images/s", "higher", figures["echo"], figures["raw"])
    note = f"{work.name}: raw {parts.peer_figure:,.0f} images/s at batches of {rows}, echo {parts.our_figure:,.0f}/s."
    return compared, note


def main() -> None:
    options = parse(__doc__, rounds=5)
    seconds = 0.4 if options.quick else 2.0
    comparisons, notes = [], []
    for work in WORKS:
        compared, note = measure(work, 1 if options.quick else options.rounds, seconds)
        comparisons.append(compared)
        notes.append(note)
    if not options.quick:
        graphs = {name: digest for work in WORKS for name, digest in work.graphs.items()}
        about = installed("onnxruntime-gpu", "bentoml", "starlette")
        publish("one_shot_limit", WHAT, comparisons, about, notes, graphs)


if __name__ == "__main__":
    main()
