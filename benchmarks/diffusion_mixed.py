"""Diffusion requests of 5 to 50 steps: batched at every step by our engine, against batched as whole requests.

    python -m benchmarks.diffusion_mixed [--rounds 5] [--quick]

16 requests come at once, and the next 16 when all of them are answered. Batched as whole requests, they go through their
samplers in lock step and are answered when the longest has ended; rows that are through are taken out of the batch, which
costs this side nothing. It runs in the same engine, as one batch of 16 on a session of all cores or as one of 8 on each of
two, whichever makes more images a second.

Clients that send their next request as soon as one is answered are measured too. Of them the mean latency says nothing that
the throughput does not: it is the number of clients divided by it (Little, 1961).
"""

import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmarks.harness import Comparison, interleaved
from benchmarks.in_process import Ended, InProcess
from benchmarks.models import diffusion_model
from benchmarks.results import installed, parse, publish
from service.engine.job import Job, RowCall
from service.settings import Settings
from service.tasks import generate

CLIENTS, CROWDS = 16, 3
LATENCY_BAR, THROUGHPUT_BAR = 0.7, 1.0


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
    ask = parse(__doc__, rounds=5)
    count, most_steps = (CLIENTS, 8) if ask.quick else (CLIENTS * CROWDS, 50)
    with tempfile.TemporaryDirectory() as store, ExitStack() as stack:
        directory, _ = diffusion_model(Path(store))
        cores = Settings(provider="cpu").workers
        as_served = stack.enter_context(InProcess(directory))
        one = stack.enter_context(InProcess(directory, Settings(provider="cpu", workers=1, intra_op_threads=cores)))

        def ways(crowd: int) -> dict[str, Way]:
            return {
                "step by step": Way(as_served, count, most_steps, crowd),
                f"whole requests, 16 on {cores} threads": Way(one, count, most_steps, crowd, group=16),
                "whole requests, 8 on each of 2 threads": Way(as_served, count, most_steps, crowd, group=8),
            }

        comparisons = []
        for crowd, how in ((CLIENTS, "16 at once"), (count, "closed loop")):
            comparisons += _compared(how, ways(crowd), 1 if ask.quick else ask.rounds, barred=crowd == CLIENTS)
    if ask.quick:
        return
    what = (
        "Images by the network of mnist-diffusion in 5 to 50 steps each, through the engine: rows of any noise level share a "
        "batch, against requests batched as wholes. 16 requests come at once, 16 more when all of these are answered; in the "
        "closed loop each of 16 clients sends its next when its last one has ended."
    )
    publish("diffusion_mixed", what, comparisons, installed("onnxruntime-gpu"))


def _compared(how: str, ways: dict[str, Way], rounds: int, *, barred: bool) -> list[Comparison]:
    """Mean latency and throughput of the first way against the best of the others. Raises where images differ."""
    figures = interleaved(ways, rounds)
    mine, *others = ways
    for name in others:
        worst = max(np.abs(a - b).max() for a, b in zip(ways[mine].images, ways[name].images, strict=True))
        if worst > 1e-4:
            raise AssertionError(f"{name}: expected the same images, found a difference of {worst:.2g}")
    best = max(others, key=lambda name: np.median(figures[name]))
    seconds = {name: way.latencies[1:] for name, way in ways.items()}  # without the warm-up
    bars = (LATENCY_BAR, THROUGHPUT_BAR) if barred else (None, None)
    return [
        Comparison(f"{how}: mean latency", mine, best, "s", "lower", seconds[mine], seconds[best], bars[0]),
        Comparison(f"{how}: throughput", mine, best, "images/s", "higher", figures[mine], figures[best], bars[1]),
    ]


if __name__ == "__main__":
    main()
