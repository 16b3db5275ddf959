"""Diffusion requests of 5 to 50 steps: batched at every step by our engine, against batched as whole requests.

    python -m benchmarks.diffusion_mixed [--rounds 5] [--provider cpu|cuda] [--quick]

16 requests come at once, and the next 16 when all of them are answered. Batched as whole requests, they go through their
samplers in lock step and are answered when the longest has ended; rows that are through are taken out of the batch, which
costs this side nothing. It runs in the same engine, as one batch of 16 on a session of all cores or as one of 8 on each of
two, whichever makes more images a second.

Clients that send their next request as soon as one is answered are measured too. Of them the mean latency says nothing that
the throughput does not: it is the number of clients divided by it (Little, 1961).

On the CPU, and then on the GPU where there is one, in a section of its own; `--provider` asks for one of them.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.harness import Comparison, interleaved
from benchmarks.in_process import Ended, InProcess
from benchmarks.models import diffusion_model
from benchmarks.results import installed, parser, publish
from benchmarks.stamps import graphs
from service.engine.job import Job, RowCall
from service.providers import MACHINE, Machine, find_device
from service.settings import Settings
from service.tasks import generate

CLIENTS = 16
LATENCY_BAR = 0.7


@dataclass(frozen=True)
class Place:
    """Where the engine runs: its section of the results, the bar there, crowds enough for seconds of work, and how far images
    may be apart that went through batches of other sizes, which have other kernels on a GPU."""

    section: str
    throughput_bar: float
    crowds: int
    apart: float


PLACES = {"cpu": Place("diffusion_mixed", 1.0, 3, 1e-4), "cuda": Place("diffusion_mixed_cuda", 1.4, 24, 1e-2)}


def requests(engine: InProcess, count: int, most_steps: int) -> list[tuple[Job, float]]:
    """Requests for an image each, of any number of steps from 5 on; the same ones each time."""
    steps = np.random.default_rng(0).integers(5, most_steps + 1, count).tolist()
    jobs: list[tuple[Job, float]] = []
    for seed, number in enumerate(steps):
        jobs += generate.draw(
            engine.model, generate.plan(engine.model, generate.Ask(1, seed, label=seed % 10, steps=number))
        )
    return jobs


def lock_step(walks: Sequence[Job]) -> Job:
    """Several jobs as one: the rows that they ask for run as one call, until the last has ended. Returns their results."""
    results: list[np.ndarray | None] = [None] * len(walks)
    asked: dict[int, RowCall] = {i: next(walk) for i, walk in enumerate(walks)}
    while asked:
        calls = list(asked.values())
        inputs = {name: np.concatenate([call.inputs[name] for call in calls]) for name in calls[0].inputs}
        outputs = yield RowCall(calls[0].capability, inputs)
        at = 0
        for i, call in list(asked.items()):
            rows = {name: array[at : at + call.size] for name, array in outputs.items()}
            at += call.size
            try:
                asked[i] = walks[i].send(rows)
            except StopIteration as stop:
                results[i] = stop.value
                del asked[i]
    return results


class Way:
    """A way to serve requests, `crowd` of them at once or in a closed loop: images a second and mean seconds of a request,
    and the images."""

    def __init__(self, engine: InProcess, count: int, most_steps: int, crowd: int, group: int = 0) -> None:
        self._engine, self._count, self._most_steps, self._crowd, self._group = engine, count, most_steps, crowd, group
        self.latencies: list[float] = []
        self.images: list[np.ndarray] = []

    def __call__(self) -> float:
        """Serve all requests once, keep the mean latency; returns images a second."""
        jobs = requests(self._engine, self._count, self._most_steps)
        self.images, latencies = [], []
        start = time.perf_counter()
        for at in range(0, len(jobs), self._crowd):
            for end in self._serve(jobs[at : at + self._crowd]):
                self.images += end.result if self._group else [end.result]
                latencies.append(end.seconds)
        seconds = time.perf_counter() - start
        self.latencies.append(float(np.mean(latencies)))
        return len(jobs) / seconds

    def _serve(self, jobs: list[tuple[Job, float]]) -> list[Ended]:
        if not self._group:
            return self._engine.run(jobs, concurrency=CLIENTS)
        groups = [jobs[i : i + self._group] for i in range(0, len(jobs), self._group)]
        whole = [(lock_step([job for job, _ in part]), sum(work for _, work in part)) for part in groups]
        return self._engine.run(whole, concurrency=CLIENTS // self._group)


def main() -> None:
    arguments = parser(__doc__, 5, "rounds of each comparison (default 5)")
    arguments.add_argument(
        "--provider", choices=tuple(PLACES), help="the CPU or the GPU alone (default: what is there)"
    )
    ask = arguments.parse_args()
    for provider in providers(ask.provider):
        measure(provider, ask.rounds, quick=ask.quick)


def providers(wanted: str | None, machine: Machine = MACHINE) -> list[str]:
    """Where to measure. Ends the program where a GPU is asked for and there is none."""
    if wanted == "cpu":
        return ["cpu"]
    try:
        find_device("cuda", machine)
    except RuntimeError as error:
        if wanted == "cuda":
            sys.exit(f"nothing was measured: {error}")
        return ["cpu"]
    return [wanted] if wanted else list(PLACES)


def measure(provider: Literal["cpu", "cuda"], rounds: int, *, quick: bool) -> None:
    """Both comparisons in one place, published there."""
    place = PLACES[provider]
    count, most_steps = (CLIENTS, 8) if quick else (CLIENTS * place.crowds, 50)
    with tempfile.TemporaryDirectory() as store, ExitStack() as stack:
        directory, _ = diffusion_model(Path(store))
        run = graphs(directory)
        served = Settings(provider=provider)
        as_served = stack.enter_context(InProcess(directory, served))
        alone = Settings(provider=provider, workers=1, intra_op_threads=served.workers)
        one = stack.enter_context(InProcess(directory, alone))
        on_all = f"16 on {served.workers} threads" if provider == "cpu" else "16 in one batch"

        def ways(crowd: int) -> dict[str, Way]:
            return {
                "step by step": Way(as_served, count, most_steps, crowd),
                f"whole requests, {on_all}": Way(one, count, most_steps, crowd, group=16),
                "whole requests, 8 on each of 2 threads": Way(as_served, count, most_steps, crowd, group=8),
            }

        comparisons = []
        for crowd, how in ((CLIENTS, "16 at once"), (count, "closed loop")):
            comparisons += _compared(how, ways(crowd), 1 if quick else rounds, place, barred=crowd == CLIENTS)
    if quick:
        return
    what = (
        "Images by the network of mnist-diffusion in 5 to 50 steps each, through the engine: rows of any noise level share a "
        "batch, against requests batched as wholes. 16 requests come at once, 16 more when all of these are answered; in the "
        "closed loop each of 16 clients sends its next when its last one has ended."
    )
    if provider == "cuda":
        what += " On a GPU, by CUDA."
    publish(place.section, what, comparisons, installed("onnxruntime-gpu"), graphs=run)


def _compared(how: str, ways: dict[str, Way], rounds: int, place: Place, *, barred: bool) -> list[Comparison]:
    """Mean latency and throughput of the first way against the best of the others. Raises where images differ."""
    figures = interleaved(ways, rounds)
    mine, *others = ways
    for name in others:
        worst = max(np.abs(a - b).max() for a, b in zip(ways[mine].images, ways[name].images, strict=True))
        if worst > place.apart:
            raise AssertionError(f"{name}: expected the same images, found a difference of {worst:.2g}")
    best = max(others, key=lambda name: np.median(figures[name]))
    seconds = {name: way.latencies[1:] for name, way in ways.items()}  # without the warm-up
    bars = (LATENCY_BAR, place.throughput_bar) if barred else (None, None)
    return [
        Comparison(f"{how}: mean latency", mine, best, "s", "lower", seconds[mine], seconds[best], bars[0]),
        Comparison(f"{how}: throughput", mine, best, "images/s", "higher", figures[mine], figures[best], bars[1]),
    ]


if __name__ == "__main__":
    main()
