"""Waiting for what happens on another thread or in another process."""

import time
from collections.abc import Callable


def eventually(is_so: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until it is so."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.002)
