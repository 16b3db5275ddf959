"""Which of a few ways of doing the same is the fastest, found by doing it."""

_TRIALS = 3  # in a row: threads that wait for the next run of their session are awake from the second on
_AGAIN = 450  # so that less than one in a hundred is slower for being a trial
_KEEP = 0.95


class Trials:
    """The seconds that each of `ways` takes at its best of late. All are tried, the fastest is used, and now and then one
    of the others is tried again.

    What is faster counts at once and what is slower by and by: the first runs of a session are slow, and so is one in which
    somebody else had a core.
    """

    def __init__(self, ways: int) -> None:
        self._seconds = [0.0] * ways
        self._count = [0] * ways

    def next(self) -> int:
        """The way to take now."""
        untried = next((way for way, count in enumerate(self._count) if count < _TRIALS), None)
        if untried is not None:
            return untried
        best = self._seconds.index(min(self._seconds))
        rounds, now = divmod(sum(self._count), _AGAIN)
        if now >= _TRIALS or len(self._count) == 1:
            return best
        others = [way for way in range(len(self._count)) if way != best]
        return others[rounds % len(others)]

    def took(self, way: int, seconds: float) -> None:
        """How long it took, this way."""
        before = self._seconds[way] if self._count[way] else seconds
        self._seconds[way] = min(seconds, _KEEP * before + (1 - _KEEP) * seconds)
        self._count[way] += 1
