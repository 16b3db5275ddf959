"""Who of a model's jobs goes first where not all can: who would end first if all shared evenly.

The Fair Sojourn Protocol (Friedman and Henderson, 2003). Beside the real service a fair one is reckoned with, in which all
jobs under way advance alike. They are served in the order of their ends there, each as fast as can be. So nobody waits
longer than by sharing, but for what is in a batch already, nobody can be overtaken for ever, and jobs end earlier on
average, short ones most. Work is counted in rows; there is no clock.
"""

import heapq
from typing import Any


class FairOrder:
    """The ends of the fair service, on its own scale: the rows that each job has had there."""

    def __init__(self) -> None:
        self._level = 0.0
        self._ends: list[float] = []  # of the jobs that the fair service has not ended, a heap
        self._asked: dict[int, float] = {}  # by the owner's id: of those that the real one has not

    def end_of(self, owner: Any, rows: int) -> float:
        """When the fair service ends a job that asks for its next rows, which with all that it will ask for are so many."""
        end = self._asked.get(id(owner))
        if end is None:
            end = self._asked[id(owner)] = self._level + rows
            heapq.heappush(self._ends, end)
        return end

    def ran(self, rows: float) -> None:
        """Say that the real service takes so many rows: the fair one takes as many."""
        while self._ends and rows >= (last := (self._ends[0] - self._level) * len(self._ends)):
            rows -= last
            self._level = heapq.heappop(self._ends)
        if self._ends:
            self._level += rows / len(self._ends)

    def served(self, owner: Any) -> None:
        """Say that a job's last rows are taken."""
        self._asked.pop(id(owner), None)

    def forget(self, owner: Any) -> None:
        """Let go of a job that was given up, unless it is served."""
        end = self._asked.pop(id(owner), None)
        if end is not None and end in self._ends:
            self._ends.remove(end)
            heapq.heapify(self._ends)
