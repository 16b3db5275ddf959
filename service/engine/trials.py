"""Which of a few ways of doing the same is the fastest, found by doing it."""

import math
import threading

_TRIALS = 3  # in a row: threads that wait for the next run of their session are awake from the second on
_AGAIN = 450  # so that less than one in a hundred is slower for being a trial
_KEEP = 0.95
_BETTER = 0.95  # of the seconds of the way in use: less than that is chance
_SLOWER = 1.5
_SELDOM = 32 * _AGAIN
_SOON = 50


class Trials:
    """The fastest of so many ways. All are tried at first; one of the others and the one in use are again now and then, and
    where that has become slower. The longer the others were far slower the more seldom: a run with more threads costs what
    they spin, whoever wins.

    What was measured in the same trial is compared: a machine that is slow for a while is so for every way, and what another
    one took before that says nothing. The first runs of a session are slow, and so is one in which somebody else had a core:
    the fastest of a few counts, and what is slower does so by and by.
    """

    def __init__(self, ways: int) -> None:
        self._seconds = [math.inf] * ways
        self._used = 0
        self._trial = list(range(ways))  # empty between trials
        self._runs = 0  # of the way of now
        self._least = math.inf  # seconds of the way in use since the last trial
        self._turn = 0
        self._pause = _AGAIN  # runs until the next trial
        self._now = 0
        self._lock = threading.Lock()

    def next(self) -> int:
        """The way to take now."""
        return self._now

    def took(self, way: int, seconds: float) -> None:
        """How long it took, this way."""
        with self._lock:
            if way != self._now:  # it was begun before a trial, and ended after it
                return
            self._runs += 1
            before = self._seconds[way]
            if self._trial:
                self._seconds[way] = seconds if self._runs == 1 else min(before, seconds)
                if self._runs == _TRIALS:
                    self._tried()
                return
            now = self._seconds[way] = min(seconds, _KEEP * before + (1 - _KEEP) * min(seconds, 2 * before))
            self._least = min(self._least, now)
            if self._runs >= self._pause or (self._runs >= _SOON and now > _SLOWER * self._least):
                self._try_again()

    def _tried(self) -> None:
        """Go on with the next way on trial, or with the fastest of them."""
        self._runs = 0
        if self._now != self._trial[-1]:
            self._now = self._trial[self._trial.index(self._now) + 1]
            return
        fastest = min(self._trial, key=self._seconds.__getitem__)
        far = math.isfinite(self._least) and self._seconds[self._trial[0]] > _SLOWER * self._seconds[self._used]
        self._pause = min(2 * self._pause, _SELDOM) if far else _AGAIN
        if self._seconds[fastest] < _BETTER * self._seconds[self._used]:
            self._used = fastest
        self._trial, self._now, self._least = [], self._used, self._seconds[self._used]

    def _try_again(self) -> None:
        self._runs = 0
        others = [way for way in range(len(self._seconds)) if way != self._used]
        if others:
            self._turn += 1
            self._trial = [others[self._turn % len(others)], self._used]
            self._now = self._trial[0]
