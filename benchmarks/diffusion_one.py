"""One image of 20 steps: our engine against a loop in torch, eager and compiled, of the same network and weights.

    python -m benchmarks.diffusion_one [--rounds 9] [--quick]

From the request to the image, a new seed in each round. All sides walk with DPM-Solver++(2M) from the same noise and must give
the same image. Torch runs with one thread and with two, and its better setting counts; torch.compile is warm.
"""

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
from service.tasks import generate

STEPS = 20
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


def rate(run: Callable[[int], tuple[float, np.ndarray]]) -> Callable[[], float]:
    """Milliseconds, of a new seed each time."""
    seeds = count()
    return lambda: 1e3 * run(next(seeds))[0]


def main() -> None:
    ask = parse(__doc__, rounds=9)
    steps = 3 if ask.quick else STEPS
    ways = [("torch eager", "eager"), *([] if ask.quick else [("torch.compile", "compile")])]
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        place, network = diffusion_model(Path(directory))
        saved = Path(directory) / "network.pt"
        torch.save(network, saved)
        engine = stack.enter_context(InProcess(place))
        contenders = {"ours": rate(lambda seed: ours(engine, seed, steps))}
        for threads in (1, 2):
            for name, how in ways:
                side = stack.enter_context(Side(sys.executable, "benchmarks.torch_diffusion", saved, threads, how))
                worst = np.abs(ours(engine, 0, steps)[1] - theirs(side, engine, 0, steps)[1]).max()
                if worst > 1e-3:
                    raise AssertionError(f"{name}: expected our image, found a difference of {worst:.2g}")
                label = f"{name}, {threads} thread{'s' * (threads > 1)}"
                contenders[label] = rate(lambda seed, side=side: theirs(side, engine, seed, steps))
        figures = interleaved(contenders, 1 if ask.quick else ask.rounds)
    if ask.quick:
        return
    comparisons = []
    for name, bar in BARS.items():
        best = min((key for key in figures if key.startswith(name)), key=lambda key: np.median(figures[key]))
        comparisons.append(
            Comparison(f"{STEPS} steps", "ours", best, "ms", "lower", figures["ours"], figures[best], bar, "at least")
        )
    what = "One image by the network of mnist-diffusion in 20 steps of DPM-Solver++(2M), from the request to the image."
    publish("diffusion_one", what, comparisons, installed("onnxruntime-gpu", "torch"))


if __name__ == "__main__":
    main()
