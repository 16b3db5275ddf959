"""A graph on a device: batch sizes whose bits agree there, recorded as CUDA graphs where that gives the same bits."""

import logging
from collections.abc import Callable, Sequence

from service.engine.brake import BrakedSession
from service.engine.device import DeviceMemory, agreeing, rows_of, same_bits
from service.engine.job import Arrays
from service.engine.rows import RowRunner
from service.providers import CUDA

log = logging.getLogger("amostra.loading")

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
