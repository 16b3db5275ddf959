"""Notices batches that hang: they run far longer than their model's pace says, and than a setting.

Time is counted by the watchdog's own looks, so that a process that was stopped, or a machine that slept, hangs nobody.
"""

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from service.engine.batch import Batch
from service.engine.ticket import Model

log = logging.getLogger("amostra.engine")

FAR = 20
"""So many times as long as its model's pace says is far longer."""
GRACE_SECONDS = 2.0
"""What was told to end has so long to do it."""


@dataclass(eq=False, slots=True)
class Run:
    """A batch that runs on some thread; it hangs when it has run for more than `most` seconds. One that runs `here` keeps
    the thread of whoever brought it."""

    batch: Batch
    model: Model
    most: float
    here: bool = False
    seconds: float = 0.0
    told: bool = False
    thread: threading.Thread = field(default_factory=threading.current_thread)


class Watchdog:
    """Looks at the batches under way, now and then, on a thread of its own.

    `on_hang(run)` is told once of a batch that hangs, and is to end it. `on_loss(run)` is told of one that did not end
    even so: it belongs to whoever is told, and the thread that comes back with it after all has to leave it alone. One
    that runs here hangs after `here_seconds`, for nobody is served meanwhile, but is not lost before any other would be.
    """

    def __init__(
        self,
        seconds: float,
        on_hang: Callable[[Run], None],
        on_loss: Callable[[Run], None],
        here_seconds: float = math.inf,
    ) -> None:
        self._seconds = seconds
        self._here_seconds = min(seconds, here_seconds)
        self._on_hang = on_hang
        self._on_loss = on_loss
        self._grace = min(GRACE_SECONDS, seconds)
        self._runs: set[Run] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="amostra-watchdog", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more, after the look under way."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def begin(self, batch: Batch, model: Model, expected: float, *, here: bool = False) -> Run:
        """This thread is about to run a batch, which should take so many seconds; 0 where nothing is known."""
        run = Run(batch, model, max(self._here_seconds if here else self._seconds, FAR * expected), here)
        self._runs.add(run)
        return run

    def end(self, run: Run) -> bool:
        """The batch has run. Whether it is still this thread's."""
        try:
            self._runs.remove(run)  # at once, or not at all: the interpreter's lock is ours
        except KeyError:
            return False
        return True

    def under_way(self) -> list[Run]:
        """What runs now."""
        return list(self._runs)

    def look(self, seconds: float) -> None:
        """So much time has passed since the last look."""
        for run in self.under_way():
            run.seconds += seconds
            if run.seconds > run.most and not run.told:
                run.told = True
                self._on_hang(run)
            elif run.seconds > max(run.most, self._seconds) + self._grace and self.end(run):
                self._on_loss(run)

    def _watch(self) -> None:
        pause, last = min(1.0, self._seconds / 10), time.monotonic()
        while not self._stop.wait(pause):
            now = time.monotonic()
            try:
                self.look(min(now - last, 2 * pause))
            except Exception:  # the watch outlives whatever it tells others of
                log.exception("a batch that hangs could not be dealt with")
            last = now
