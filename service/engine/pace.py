"""How fast a model is: measured while it works, used to say how long the queue is and how large a batch may be."""

import math
from collections.abc import Hashable

from service.engine.batch import INTERACTIVE, Lane

_KEEP = 0.9
_WORSE = 1.15
_SLOWER = 1.005  # what was measured once is believed less with every batch that takes longer
_REMEMBERED = 400
_FORGET_WORK = 0.98
_YOUNG, _SETTLED = 32, 8  # batches that each say something new, and then how many do so together
_UNKNOWN = 64  # rows of a batch of which nothing was measured: those of a large network could take a second


class Pace:
    """One model's measured rates, as moving averages."""

    def __init__(self) -> None:
        self.jobs = 0
        self._backlog = [0.0, 0.0]  # work of the jobs under way, interactive and of the background
        self._spent = [0.0, 0.0]  # seconds that these have had
        self._work = 0.0  # of the jobs that were served, and the seconds that they took
        self._seconds = 0.0
        self._rates: dict[Hashable, _Rates] = {}  # by their lanes' keys
        self.lanes: dict[Hashable, Lane] = {}
        """By their keys, and whether more of the same follows, with the limits that follow from what was measured; empty after
        each batch that may change them."""

    def batch_ran(self, lane: Lane, rows: int, seconds: float, *, alone: bool = False) -> None:
        """Count a batch; one that was `alone` may have had all cores."""
        rates = self._rates.get(lane.key)
        if rates is None:
            rates = self._rates[lane.key] = _Rates()
            if len(self._rates) > 256:  # image sizes are the client's choice
                self._rates.pop(next(iter(self._rates)))
        if rates.ran(rows, seconds, alone=alone):
            self.lanes.clear()

    def job_came(self, work: float, priority: int = INTERACTIVE) -> None:
        """Count a job that is taken in."""
        self._backlog[priority] += work
        self.jobs += 1

    def job_had(self, seconds: float, priority: int = INTERACTIVE) -> None:
        """Count time that a job under way was given."""
        self._spent[priority] += seconds

    def job_ended(self, work: float, seconds: float, priority: int = INTERACTIVE, *, served: bool) -> None:
        """Count a job that is over, and the time that it had in all; only a served one says something about the rate."""
        self.jobs -= 1
        self._backlog[priority] -= work
        self._spent[priority] -= seconds
        if not self.jobs:  # the sums of many floats are nearly 0
            self._backlog, self._spent = [0.0, 0.0], [0.0, 0.0]
        if served:
            self._work = self._work * _FORGET_WORK + work
            self._seconds = self._seconds * _FORGET_WORK + seconds

    def seconds_left(self, priority: int = INTERACTIVE) -> float:
        """How long what is left of the accepted work will take one worker that goes before a new job."""
        if not self._work:
            return 0.0
        backlog, spent = self._backlog[INTERACTIVE], self._spent[INTERACTIVE]
        if priority != INTERACTIVE:
            backlog, spent = sum(self._backlog), sum(self._spent)
        return max(0.0, backlog * self._seconds / self._work - spent)

    def seconds_for(self, work: float) -> float:
        """How long a job of so much work will take; infinity where nothing was measured."""
        return work * self._seconds / self._work if self._work else math.inf

    def seconds_of(self, lane: Lane, rows: int) -> float:
        """How long a batch of so many rows takes; 0 where nothing was measured."""
        rates = self._rates.get(lane.key)
        return rows * rates.least if rates is not None else 0.0

    def quickest(self, lane: Lane, rows: int) -> float:
        """How long a batch of so many rows takes where nothing disturbs it; infinity where nothing was measured."""
        rates = self._rates.get(lane.key)
        return rates.quickest(rows) if rates is not None else math.inf

    def rows_within(self, lane: Lane, seconds: float, most: int) -> int:
        """How many rows a batch may have, to end within so many seconds and not to be slower for each row than smaller
        ones are; one at least."""
        rates = self._rates.get(lane.key)
        return min(most, _UNKNOWN) if rates is None else rates.rows_within(seconds, most)

    def knee(self, lane: Lane, most: int, slower: float) -> int:
        """How many rows a batch needs at least to take no more than so many times as long for each of them as the best does,
        where others run beside it. A size that was never tried is tried, if it may be the one."""
        rates = self._rates.get(lane.key)
        return most if rates is None else rates.knee(most, slower)


class _Rates:
    """Seconds for a row in batches of one size and another, as moving averages.

    A batch whose rows fit into no cache can take twice as long for each as a smaller one.
    """

    def __init__(self) -> None:
        self._by_size: dict[int, float] = {}
        self._crowded: dict[int, float] = {}  # of those that were not alone
        self._best: dict[int, float] = {}  # seconds of a whole batch of a size, at its best of late
        self._batches = 0

    def ran(self, rows: int, seconds: float, *, alone: bool) -> bool:
        """Count a batch. Returns whether limits are to follow from it: those of a few more hardly move an average."""
        size, now, new = _rounded(rows), seconds / rows, False
        for rates in (self._by_size,) if alone else (self._by_size, self._crowded):
            known = rates.get(size)
            new = new or known is None
            rates[size] = now if known is None else _KEEP * known + (1 - _KEEP) * now
        self._best[size] = min(seconds, _SLOWER * self._best.get(size, seconds))
        self._batches += 1
        if self._batches % _REMEMBERED == 0:  # what was slow may have been so for another reason: it is tried again
            self._by_size, self._crowded = {size: min(self._by_size.values())}, {}
        return new or self._batches <= _YOUNG or self._batches % _SETTLED == 0

    def quickest(self, rows: int) -> float:
        """Seconds of a batch, by those of its size, larger ones, which take no less, or smaller ones, row by row."""
        size = _rounded(rows)
        return min(seconds * (1 if known >= size else size / known) for known, seconds in self._best.items())

    @property
    def least(self) -> float:
        return min(self._by_size.values())

    def rows_within(self, seconds: float, most: int) -> int:
        least = self.least
        best = next(size for size, found in self._by_size.items() if found == least)
        worse = [size for size, found in self._by_size.items() if size > best and found > _WORSE * least]
        most = min([most, *(max(best, size // 2) for size in worse)])
        return max(1, min(most, int(seconds / least)))

    def knee(self, most: int, slower: float) -> int:
        if not self._crowded:
            return most
        least = min(self._crowded.values())
        size = min(size for size, found in self._crowded.items() if found <= slower * least)
        return min(most, size if size == 1 or size // 2 in self._crowded else size // 2)


def _rounded(rows: int) -> int:
    """Batches are compared by the power of two that holds them."""
    return 1 << (rows - 1).bit_length()
