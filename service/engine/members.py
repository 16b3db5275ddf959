"""Whose sequence is in which row, and what a step has to know of all that take it.

Sequences that take steps lie side by side from the first row on, behind them those that rest, and then the one whose prompt is
being computed: when one leaves, the last takes its place.
"""

from collections.abc import Sequence
from typing import Any

from service.engine.batch import Work
from service.engine.held_rows import Rows
from service.engine.job import Listener, SequenceCall


class Members:
    """The works in `rows`, from row `first` on: those that step, those that rest, and the `prompt`.

    Of those that step it keeps how they choose (`choice`), whether any has tokens given (`giving`), and whether somebody
    listens or what is written may be a sequence's last (`heard`).
    """

    def __init__(self, rows: Rows, first: int) -> None:
        self._rows = rows
        self._first = first
        self._works: list[Work] = []
        self._stepping = 0
        self.prompt: Work | None = None
        self._changed()

    @property
    def stepping(self) -> slice:
        """The rows that take steps."""
        return slice(self._first, self._first + self._stepping)

    @property
    def free(self) -> int:
        """The row behind all that are written to: the prompt's."""
        return self._first + len(self._works)

    def work(self, row: int) -> Work:
        """Whose row it is."""
        return self._works[row - self._first]

    def gather(self, live: Sequence[Work]) -> None:
        """Bring those that take the next steps to the front."""
        count = len(live)
        if count == self._stepping == len(self._works):
            return
        stepping = {id(work) for work in live}
        steps = [id(work) in stepping for work in self._works]
        assert sum(steps) == count, "a sequence that steps has a row"
        resting_in_front = [i for i in range(count) if not steps[i]]
        stepping_behind = [i for i in range(count, len(steps)) if steps[i]]
        for front, behind in zip(resting_in_front, stepping_behind, strict=True):
            self._rows.swap(self._first + front, self._first + behind)
            self._works[front], self._works[behind] = self._works[behind], self._works[front]
        if resting_in_front or count != self._stepping:
            self._stepping = count
            self._changed()

    def join(self) -> None:
        """The prompt is computed: its sequence is the last of those that step, and until the next step all of them do."""
        assert self.prompt is not None, "a prompt was begun"
        self._works.append(self.prompt)
        self.prompt = None
        self._stepping = len(self._works)
        self._changed()

    def leave(self, owner: Any) -> int:
        """Free a row: the last one's sequence takes its place, and a prompt's row closes up behind. Returns the row that is
        free now."""
        last = self.free - 1
        if self.prompt is not None and self.prompt.owner is owner:
            self.prompt = None
            return last + 1
        row = next((i for i, work in enumerate(self._works, start=self._first) if work.owner is owner), None)
        if row is None:
            return last + 1
        if row != last:
            self._rows.swap(last, row)
            self._works[row - self._first] = self._works[-1]
        self._works.pop()
        self._stepping = len(self._works)
        self._changed()
        if self.prompt is not None:
            self._rows.swap(last + 1, last)
            return last + 1
        return last

    def listeners(self, low: int, count: int) -> list[tuple[int, SequenceCall, Listener]]:
        """The calls of so many rows from `low` on that listen, and their places among them."""
        first = low - self._first
        return [(i - first, call, listen) for i, call, listen in self._listening if first <= i < first + count]

    def _changed(self) -> None:
        calls = [call_of(work) for work in self._works]
        self._listening = [(i, call, call.listen) for i, call in enumerate(calls) if call.listen is not None]
        self.choice = self._rows.choice(self.stepping)
        self.giving = any(call.given is not None for call in calls)
        self.heard = any(call.listen is not None or call.end_token is not None for call in calls)


def call_of(work: Work) -> SequenceCall:
    """What a sequence's job asked for."""
    assert isinstance(work.call, SequenceCall), "the engine sends us nothing else"
    return work.call
