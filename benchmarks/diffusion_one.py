"""One image of 20 steps: our engine against a loop in torch, eager and compiled, of the same network and weights.

    python -m benchmarks.diffusion_one [--rounds 9] [--quick]

From the request to the image, each of a new seed. A turn is five images, one after the other, and its time that of the
middle one: the first of them finds the caches as the side before left them. All sides walk with DPM-Solver++(2M) from the same
noise and must give the same image. Torch runs with one thread and with two, its tensors in either layout, torch.compile by
default and with max-autotune, compiled before; the best setting of each counts.
"""

import statistics
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import numpy as np
import torch

from benchmarks.harness import Comparison, interleaved
from benchmarks.in_process import InProcess
from benchmarks.models import diffusion_model
from benchmarks.results import installed, parse, publish
from benchmarks.side import Side
from benchmarks.stamps import graphs
from service.tasks import generate

STEPS, STREAM = 20, 5
WAYS = {
    "torch eager": ("eager", "contiguous"),
    "torch eager, channels_last": ("eager", "channels_last"),
    "torch.compile": ("default", "contiguous"),
    "torch.compile, channels_last": ("default", "channels_last"),
    "torch.compile, max-autotune": ("max-autotune", "contiguous"),
    "torch.compile, max-autotune, channels_last": ("max-autotune", "channels_last"),
}
BARS = {"torch eager": 1.5, "torch.compile": 1.3}


def ours(engine: InProcess, seed: int, steps: int) -> tuple[float, np.ndarray]:
    """Seconds of a request, and its image (28, 28)."""
    ask = generate.Ask(1, seed, label=seed % 10, steps=steps, sampler="dpmpp_2m")
    (ended,) = engine.run(generate.draw(engine.model, generate.plan(engine.model, ask)))
    return ended.seconds, ended.result[0, 0]


def theirs(side: Side, engine: InProcess, seed: int, steps: int) -> tuple[float, np.ndarray]:
    """The same, of torch."""
    ask = generate.Ask(1, seed, label=seed % 10, steps=steps, sampler="dpmpp_2m")
    drawing = generate.plan(engine.model, ask)
    assert drawing.course is not None
    noise = drawing.unit_noise((1, 28, 28)).ravel().tolist()
    found = side(noise=noise, sigmas=list(drawing.course.sigmas), label=seed % 10)
    return found["seconds"], np.array(found["image"]).reshape(28, 28)


def milliseconds(run: Callable[[int], tuple[float, np.ndarray]]) -> Callable[[], float]:
    """Of the middle one of several images in a row, of new seeds each time."""
    seeds = count()
    return lambda: 1e3 * statistics.median(run(next(seeds))[0] for _ in range(STREAM))


def main() -> None:
    ask = parse(__doc__, rounds=9)
    steps = 3 if ask.quick else STEPS
    ways = {name: how for name, how in WAYS.items() if how[0] == "eager" or not ask.quick}
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        place, network = diffusion_model(Path(directory))
        run = graphs(place)
        saved = Path(directory) / "network.pt"
        torch.save(network, saved)
        engine = stack.enter_context(InProcess(place))
        contenders = {"ours": milliseconds(lambda seed: ours(engine, seed, steps))}
        for threads in (1, 2):
            for name, how in ways.items():
                side = stack.enter_context(Side(sys.executable, "benchmarks.torch_diffusion", saved, threads, *how))
                worst = np.abs(ours(engine, 0, steps)[1] - theirs(side, engine, 0, steps)[1]).max()
                if worst > 1e-3:
                    raise AssertionError(f"{name}: expected our image, found a difference of {worst:.2g}")
                label = f"{name}, {threads} thread{'s' * (threads > 1)}"
                contenders[label] = milliseconds(lambda seed, side=side: theirs(side, engine, seed, steps))
        figures = interleaved(contenders, 1 if ask.quick else ask.rounds)
    if ask.quick:
        return
    comparisons = []
    for name, bar in BARS.items():
        best = min((key for key in figures if key.startswith(name)), key=lambda key: np.median(figures[key]))
        comparisons.append(
            Comparison(f"{STEPS} steps", "ours", best, "ms", "lower", figures["ours"], figures[best], bar, "at least")
        )
    what = (
        f"One image by the network of mnist-diffusion in 20 steps of DPM-Solver++(2M), from the request to the image, the middle "
        f"one of {STREAM} in a row, against the best of torch's settings: one thread and two, both layouts of tensors, "
        "torch.compile by default and with max-autotune and frozen weights."
    )
    publish("diffusion_one", what, comparisons, installed("onnxruntime-gpu", "torch"), graphs=run)


if __name__ == "__main__":
    main()
