"""Do a row's bits depend on its batch? Every graph of the shipped models, on one execution provider, in every batch size that
the service gives it by default.

    AMOSTRA_DATA=… python -m benchmarks.batch_invariance [--provider cuda] [model …]

Rows of a model's own held-out data, in batches of each size, are compared with the same rows in the largest batch; texts that
are written, in a step of several, with the same step among the most. What was measured before, of the same files, is not
measured again unless its model is named. What was found goes into docs/batch-invariance.jsonl, and from there into the page
beside it.
"""

import argparse
import datetime
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime as ort

from benchmarks.held_out_rows import HeldOut
from benchmarks.invariance_page import CROWD, PAGE, PROVIDERS, Difference, Found, read, renewed, shipped, write
from benchmarks.results import machine
from contract import Capability
from service.engine.brake import Brake
from service.engine.held_rows import Rows
from service.engine.job import Arrays
from service.engine.key_values import bytes_per_row
from service.engine.limits import Limits
from service.engine.token_graph import TokenGraph
from service.providers import CPU, device_sizes, find_device
from service.sessions import open_session
from service.settings import Settings
from training.invariance import Run, by_output, served

FASTER = 4
"""Times as fast as this one a machine may be: it runs more rows in the same time."""
DRAWS, DRAW_SECONDS = 8, 1.5
"""Other rows are drawn so often, where there is time: bits that differ in one row of a hundred are easily missed."""
REPEATS, FEWEST, SECONDS = 100, 3, 0.5


@dataclass(frozen=True)
class Ways:
    """To run rows of one graph: those of some numbers, in batches of any of `sizes`; the first so many `together`, or
    `one_by_one`."""

    run: Run
    sizes: Sequence[int]
    together: Callable[[int], object]
    one_by_one: Callable[[int], object]


def measure(directory: Path, capability: Capability, held_out: HeldOut, settings: Settings, device: str) -> Found:
    """One graph on a device, as the service runs it there."""
    graph = held_out.manifest.capabilities[capability]
    session = open_session(directory, capability, graph, settings, device, Brake(), settings.intra_op_threads)
    differs: dict[str, Difference] = {}
    sizes, rows = set[int](), 0
    for shape, drawn in draws(capability, held_out):
        if capability is Capability.NEXT_TOKEN:
            ways = steps(session, drawn, settings)
        else:
            ways = batches(session, drawn, capability, shape, settings)
        sizes |= set(ways.sizes)
        rows += ways.sizes[-1]
        values = ways.run(np.arange(ways.sizes[-1]))
        for name, worst in by_output(ways.run, ways.sizes).items():
            found = Difference.of(worst, values[name])
            if found.sizes:
                differs[name] = differs[name] | found if name in differs else found
    return Found(
        provider=device,
        graph=f"{held_out.manifest.name}/{held_out.manifest.version}/{capability.value}",
        sha256=graph.sha256,
        sizes=tuple(sorted(sizes)),
        rows=rows,
        differs=differs,
        pair=ratio(lambda: ways.together(2), lambda: ways.together(1)),
        strict=ratio(lambda: ways.one_by_one(CROWD), lambda: ways.together(CROWD)),
        on=f"{machine()}; onnxruntime {ort.__version__}; {datetime.date.today().isoformat()}",
    )


def draws(capability: Capability, held_out: HeldOut) -> Iterator[tuple[int | None, HeldOut]]:
    """Each shape of a row, with other rows again and again for some seconds."""
    for shape in held_out.shapes(capability):
        until = time.monotonic() + DRAW_SECONDS
        for draw in range(DRAWS):
            if draw == 0 or time.monotonic() < until:
                yield shape, replace(held_out, draw=draw)


def batches(
    session: ort.InferenceSession, held_out: HeldOut, capability: Capability, shape: int | None, settings: Settings
) -> Ways:
    """Of rows. Of more than its usual most the service makes a batch only where these are done within milliseconds."""
    names, bounds = [port.name for port in session.get_outputs()], Limits()
    elements = sum(array.size for array in held_out.rows(capability, shape, 1).values())
    usual, all_sizes = served(elements, lambda rows: math.inf), served(elements, lambda rows: 0.0)
    everything = held_out.rows(capability, shape, all_sizes[-1])

    def run(numbers: np.ndarray) -> Arrays:
        some = {name: array[numbers] for name, array in everything.items()}
        return dict(zip(names, session.run(names, some), strict=True))

    def together(rows: int) -> Arrays:
        return run(np.arange(rows))

    together(usual[-1])
    start = time.perf_counter()
    together(usual[-1])
    quick = time.perf_counter() - start < FASTER * bounds.runs_seconds
    sizes: Sequence[int] = all_sizes if quick else usual
    if session.get_providers()[0] != CPU:
        sizes = [size for size in device_sizes(settings) if size <= usual[-1]]
    return Ways(run, sizes, together, lambda rows: [run(np.array([row])) for row in range(rows)])


def steps(session: ort.InferenceSession, held_out: HeldOut, settings: Settings) -> Ways:
    """Of a step of texts of different lengths, of as many as a server has slots."""
    context = held_out.manifest.context
    room = settings.text_cache_mb * 2**20 // max(1, bytes_per_row(session, context))
    sizes = range(1, min(settings.text_slots, room) + 1)
    rows = Rows(session, 0, sizes[-1], context)
    graph, alone = (TokenGraph(session, rows, 0, None, together=together) for together in (True, False))
    ids, lengths = held_out.texts(sizes[-1])
    for row, length in enumerate(lengths.tolist()):
        graph.prompt(row, ids[row : row + 1, :length], length)
    before = {name: cache.copy() for name, cache in rows.caches.items()}

    def step(graph: TokenGraph, numbers: np.ndarray) -> np.ndarray:
        graph.begin_steps(ids[numbers, lengths[numbers]], lengths[numbers], alone=False)
        return graph.step()

    def run(numbers: np.ndarray) -> Arrays:
        for name, cache in rows.caches.items():
            cache[: len(numbers)] = before[name][numbers]
        return {"logits": step(graph, numbers).copy()}

    return Ways(
        run,
        sizes,
        together=lambda count: step(graph, np.arange(count)),
        one_by_one=lambda count: step(alone, np.arange(count)),
    )


def ratio(first: Callable[[], object], second: Callable[[], object]) -> float:
    """How many times as long the first takes: the best of some of each, in turn."""
    best, begun = [math.inf, math.inf], time.monotonic()
    for done in range(REPEATS):
        if done >= FEWEST and time.monotonic() - begun > SECONDS:
            break
        for i, work in enumerate((first, second)):
            start = time.perf_counter()
            work()
            best[i] = min(best[i], time.perf_counter() - start)
    return best[0] / best[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", help="measured again; where none is named, what was not measured yet")
    parser.add_argument("--provider", choices=PROVIDERS, default="cpu")
    parser.add_argument("--data-root", type=Path, default=os.environ.get("AMOSTRA_DATA"))
    options = parser.parse_args()
    settings = Settings(provider=options.provider)
    device = find_device(options.provider)
    for model in shipped():
        manifest, held_out = model.manifest, None
        for capability, graph in manifest.capabilities.items():
            known = read().get((device, model.key(capability)))
            stale = known is None or known.sha256 != graph.sha256 or manifest.name in options.models
            there = capability is not Capability.NEXT_TOKEN or device == "cpu"  # on a GPU all rows take each step
            if not stale or not there:
                continue
            held_out = held_out or HeldOut.of(manifest, options.data_root)
            start = time.monotonic()
            found = measure(model.directory, capability, held_out, settings, device)
            print(f"{found.graph}: {found.said} ({time.monotonic() - start:.0f} s)", flush=True)
            write(found)
    PAGE.write_text(renewed(PAGE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
