"""Diffusion requests of 5 to 50 steps: batched at every step by our engine, against batched as whole requests.

    python -m benchmarks.diffusion_mixed [--rounds 5] [--quick]

16 clients, each of which sends its next request when its last one has ended. Batched as whole requests, 16 of them go through
their samplers in lock step, and the next 16 begin when the longest has ended; rows that are through are taken out of the
batch, which costs this side nothing. It runs in the same engine, as one batch of 16 on a session of all cores or as one of
8 on each of two, whichever makes more images a second.
"""

import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmarks.harness import Comparison, interleaved
from benchmarks.in_process import InProcess
from benchmarks.models import diffusion_model
from benchmarks.results import installed, parse, publish
from service.engine.job import Job, RowCall
from service.settings import Settings
from service.tasks import generate

CLIENTS, WAVES = 16, 3
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
    """A way to serve requests: images a second and mean seconds of a request, and the images."""

    def __init__(self, engine: InProcess, count: int, most_steps: int, group: int = 0) -> None:
        self._engine, self._count, self._most_steps, self._group = engine, count, most_steps, group
        self.latencies: list[float] = []
        self.images: list[np.ndarray] = []

    def __call__(self) -> float:
        """Serve all requests once, keep the mean latency; returns images a second."""
        jobs = requests(self._engine, self._count, self._most_steps)
        start = time.perf_counter()
        if self._group:
            groups = [jobs[i : i + self._group] for i in range(0, len(jobs), self._group)]
            whole = [(lock_step([job for job, _ in part]), sum(work for _, work in part)) for part in groups]
            ended = self._engine.run(whole, concurrency=CLIENTS // self._group)
            self.images = [image for end in ended for image in end.result]
        else:
            ended = self._engine.run(jobs, concurrency=CLIENTS)
            self.images = [end.result for end in ended]
        seconds = time.perf_counter() - start
        self.latencies.append(float(np.mean([end.seconds for end in ended])))
        return len(jobs) / seconds


def main() -> None:
    ask = parse(__doc__, rounds=5)
    count, most_steps = (CLIENTS, 8) if ask.quick else (CLIENTS * WAVES, 50)
    with tempfile.TemporaryDirectory() as store, ExitStack() as stack:
        directory, _ = diffusion_model(Path(store))
        cores = Settings(provider="cpu").workers
        as_served = stack.enter_context(InProcess(directory))
        one = stack.enter_context(InProcess(directory, Settings(provider="cpu", workers=1, intra_op_threads=cores)))
        ways = {
            "step by step": Way(as_served, count, most_steps),
            f"whole requests, 16 on {cores} threads": Way(one, count, most_steps, group=16),
            "whole requests, 8 on each of 2 threads": Way(as_served, count, most_steps, group=8),
        }
        figures = interleaved(ways, 1 if ask.quick else ask.rounds)
    mine, *others = ways
    for name in others:
        worst = max(np.abs(a - b).max() for a, b in zip(ways[mine].images, ways[name].images, strict=True))
        if worst > 1e-4:
            raise AssertionError(f"{name}: expected the same images, found a difference of {worst:.2g}")
    if ask.quick:
        return
    best = max(others, key=lambda name: np.median(figures[name]))
    seconds = {name: way.latencies[1:] for name, way in ways.items()}  # without the warm-up
    comparisons = [
        Comparison("mean latency", mine, best, "s", "lower", seconds[mine], seconds[best], LATENCY_BAR),
        Comparison("throughput", mine, best, "images/s", "higher", figures[mine], figures[best], THROUGHPUT_BAR),
    ]
    what = (
        "Images by the network of mnist-diffusion in 5 to 50 steps each, 16 clients that send one request after another, "
        "through the engine: rows of any noise level share a batch, against requests batched as wholes."
    )
    publish("diffusion_mixed", what, comparisons, installed("onnxruntime-gpu"))


if __name__ == "__main__":
    main()
