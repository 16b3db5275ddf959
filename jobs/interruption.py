"""SIGTERM and SIGINT as an error with an exit code of its own."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Never

from jobs.errors import Interrupted


@contextmanager
def interruptible() -> Iterator[None]:
    """Either signal raises Interrupted, wherever the main thread is."""

    def stop(number: int, frame: FrameType | None) -> Never:
        raise Interrupted(f"{signal.Signals(number).name}: the same command goes on where this one stood")

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
