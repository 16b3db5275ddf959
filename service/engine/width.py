"""One thread or all cores: two sessions of a graph, and which of them is the faster for work that is alone.

For many requests a thread for each of several batches is the fastest. A batch that has the machine to itself may gain from
more threads, up to twice, or lose, where its operators are small: both are tried, the faster one is used, and the other one
is tried again now and then. A wide session whose bits differ is never used.
"""

import atexit
import logging
import threading
import time
from collections.abc import Callable, Hashable, Sequence

import numpy as np
import onnxruntime as ort

from service.cores import use_all
from service.engine.trials import Trials

log = logging.getLogger("amostra.engine")

_KEPT = 256
_LAST_SECONDS = 10.0  # that a process which ends waits for a wide session that is being made
BLANKS = (1, 1), (1, 7), (1, 32), (1, 64), (2, 1), (8, 1)
"""Rows, and tokens of each, for which a text graph's wide session is compared."""

Widen = Callable[[], ort.InferenceSession]
Feed = dict[str, np.ndarray]


class Width:
    """A graph's `narrow` session and, some time after the first work that is alone, its wide one. `widen` makes it, on a
    thread of its own; without one there is no wide session."""

    def __init__(self, narrow: ort.InferenceSession, widen: Widen | None) -> None:
        self.narrow = narrow
        self._wide: ort.InferenceSession | None = None
        self._widen = widen
        self._lock = threading.Lock()
        self._trials: dict[Hashable, Trials] = {}

    def pick(self, key: Hashable, *, alone: bool) -> ort.InferenceSession:
        """The session for work of this kind and size."""
        if not alone or self._wide is None:
            return self.narrow
        trials = self._trials.get(key)
        if trials is None:
            trials = self._trials.setdefault(key, Trials(2))
        return self._wide if trials.next() else self.narrow

    def widest(self, *, alone: bool) -> ort.InferenceSession:
        """The session for work that is large enough for all cores."""
        return self._wide if alone and self._wide is not None else self.narrow

    def took(self, key: Hashable, session: ort.InferenceSession, seconds: float) -> None:
        """How long work that was alone took."""
        trial = self._trials.get(key)
        if trial is not None:
            trial.took(int(session is self._wide), seconds)
            if len(self._trials) > _KEPT:  # image sizes are the client's choice
                self._trials.pop(next(iter(self._trials)))

    def wanted(self) -> bool:
        """Whether a wide session is still to be made."""
        return self._widen is not None

    def make(self, *feeds: Feed) -> None:
        """Make the wide session in the background, and use it if it gives the same bits for each of these inputs."""
        with self._lock:
            widen, self._widen = self._widen, None
        if widen is not None:
            thread = threading.Thread(target=self._make, args=(widen, feeds), name="amostra-widen", daemon=True)
            # An interpreter that ends under a thread in the runtime aborts the process.
            atexit.register(thread.join, _LAST_SECONDS)
            thread.start()

    def _make(self, widen: Widen, feeds: Sequence[Feed]) -> None:
        try:
            self._try(widen, feeds)
        finally:
            atexit.unregister(threading.current_thread().join)

    def _try(self, widen: Widen, feeds: Sequence[Feed]) -> None:
        use_all()  # and so do the session's threads, though a worker started this one
        try:
            wide = widen()
            pairs = [
                pair for feed in feeds for pair in zip(self.narrow.run(None, feed), wide.run(None, feed), strict=True)
            ]
        except Exception:  # the graph may have been replaced on the disk: one thread serves it as well
            log.exception("a graph could not be loaded for all cores")
            return
        if all(np.array_equal(a, b) for a, b in pairs):
            self._wide = wide


class TokenSession:
    """The session that computes tokens; steps that are alone are timed. `blanks` makes inputs of work that may be alone."""

    def __init__(self, narrow: ort.InferenceSession, widen: Widen | None, blanks: Callable[[], list[Feed]]) -> None:
        self.session = narrow
        self._width = Width(narrow, widen)
        self._blanks = blanks
        self._rows = 0
        self._alone_since: float | None = None

    def begin(self, rows: int, *, alone: bool) -> None:
        """Steps of so many rows follow; `alone` says that nothing else runs or waits."""
        self._make(alone=alone)
        self._rows = rows
        self.session = self._width.pick(rows, alone=alone)
        self._alone_since = time.monotonic() if alone else None

    def end(self, steps: int) -> None:
        """So many were taken since then."""
        if self._alone_since is not None:
            self._width.took(self._rows, self.session, (time.monotonic() - self._alone_since) / steps)

    def widest(self, *, alone: bool) -> ort.InferenceSession:
        """The session for a part of a prompt. One with more threads is not tried first, as for steps: products of many
        tokens gain from them, and what such a session has in the caches is there for the steps that follow."""
        self._make(alone=alone)
        return self._width.widest(alone=alone)

    def _make(self, *, alone: bool) -> None:
        if alone and self._width.wanted():
            self._width.make(*self._blanks())
