"""A graph on a device: batch sizes whose bits agree there, or a text's rows all together; recorded as CUDA graphs where that gives
the same bits."""

import logging
from collections.abc import Callable, Sequence

import numpy as np

from service.engine.brake import BrakedSession
from service.engine.device import DeviceMemory, agreeing, rows_of, same_bits
from service.engine.device_text import DeviceTokenGraph
from service.engine.held_rows import Rows
from service.engine.job import Arrays
from service.engine.rows import RowRunner
from service.engine.sequences import SequenceRunner
from service.engine.token_graph import TokenGraph
from service.providers import CUDA

log = logging.getLogger("amostra.loading")

_PROMPT = 7  # tokens of the text that is written on loading

Open = Callable[[], BrakedSession]


def device_runner(
    name: str,
    session: BrakedSession,
    device: str,
    rows: Arrays,
    sizes: Sequence[int],
    *,
    fixed: bool,
    recorded: Open | None,
) -> RowRunner:
    """Run a session's graph on its device, in those of ascending batch `sizes` that give the same bits there.

    `rows` are as many rows of ordinary data as the largest size. Where shapes are not `fixed`, what was measured at one says
    nothing of the others, so each row runs alone: determinism comes before throughput. `recorded` opens a session whose runs
    can be CUDA graphs; it is used if all of its sizes can be recorded and give the same bits, and logged if not.
    """
    memory = DeviceMemory(session, device)
    if not fixed:
        return RowRunner(session, memory, (1,))
    agreed = agreeing(memory.run, rows, sizes)
    if agreed != tuple(sizes):
        log.info("%s: rows have the same bits in batches of %s only", name, ", ".join(map(str, agreed)))
    if recorded is None or session.get_providers()[0] != CUDA:
        return RowRunner(session, memory, agreed)
    try:
        replaying = recorded()
        replayed = DeviceMemory(replaying, device)
        for size in agreed:
            feed = rows_of(rows, slice(size))
            if not same_bits(replayed.record(feed), memory.run(feed)):
                raise ValueError(f"a batch of {size} has other bits than without")
    except Exception as error:  # the runtime's have no common base; what it cannot record runs as it did
        log.warning("%s: runs without CUDA graphs: %s", name, error)
        return RowRunner(session, memory, agreed)
    return RowRunner(replaying, replayed, agreed)


def device_sequences(
    name: str, make: Callable[[], DeviceTokenGraph], *, chunk: int, tolerance: float, recorded: Open | None
) -> SequenceRunner | None:
    """Run a text graph on its device, where it writes what it writes on the CPU, within the `tolerance` of its logits, and no
    row's bits depend on the others; else it is logged why not, and None.

    `recorded` is as in device_runner. What prompts share is computed for each: a prompt's bits may depend on how it is cut.
    """
    try:
        graph = make()
        _check_text(graph, tolerance)
    except Exception as error:  # the runtime's have no common base
        log.warning("%s: text stays on the CPU: %s", name, error)
        return None
    if recorded is not None and graph.there.get_providers()[0] == CUDA:
        try:
            graph.record(recorded())
        except Exception as error:  # what it cannot record runs as it did
            log.warning("%s: runs without CUDA graphs: %s", name, error)
    return SequenceRunner(graph.session, graph.rows.count, graph.rows.context, chunk=chunk, reuse=False, there=graph)


def _check_text(graph: DeviceTokenGraph, tolerance: float) -> None:
    """Raises ValueError where a prompt and a step are not what they are on the CPU, or depend on their row or on the others."""
    rows, context = graph.rows.count, graph.rows.context
    size = max(1, min(_PROMPT, context - 2))
    ids = np.arange(size)[None] % 2
    host = TokenGraph(graph.session, Rows(graph.session, 0, 1, context), 0, None)
    expected = [host.prompt(0, ids, size).copy()]
    host.begin_steps(np.ones(1, np.int64), np.array([size]), alone=False)
    expected.append(host.step().copy())

    def step(lengths: np.ndarray) -> np.ndarray:
        ids = np.arange(rows) % 2 if len(set(lengths.tolist())) > 1 else np.zeros(rows, np.int64)
        ids[0] = 1
        graph.begin_steps(ids, lengths, alone=False)
        return graph.step().copy()

    prompts = [graph.prompt(row, ids, size) for row in range(rows)]
    first = step(np.full(rows, size))[0]
    off = max(float(np.abs(a - b).max()) for a, b in zip([prompts[0], first[None]], expected, strict=True))
    if not off <= tolerance:  # a NaN is not
        raise ValueError(f"its logits differ from the CPU's by {off:.3g}, the tolerance is {tolerance:.3g}")
    lengths = np.array([size, *(1 + row % size for row in range(1, rows))])
    for row in range(1, rows):
        graph.prompt(row, ids[:, : lengths[row]], int(lengths[row]))
    if any(p.tobytes() != prompts[0].tobytes() for p in prompts) or step(lengths)[0].tobytes() != first.tobytes():
        raise ValueError("a row's bits depend on its place, or on the others")
