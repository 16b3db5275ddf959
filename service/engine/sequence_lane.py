"""A lane of sequences, that hold slots from their prompt to their end; one batch in flight.

A prompt is computed in parts, and between two parts the other sequences take a step. A slot goes to the group that has
fewest of them, so that a request for many sequences does not hold up one for few.

Sequences of the background hold half of the slots at most, and rest in them while interactive ones are here; a prompt of
theirs that is not done gives way and is begun again.
"""

from collections import Counter, deque
from collections.abc import Iterator
from itertools import chain
from typing import Any

from service.engine.batch import BACKGROUND, INTERACTIVE, Batch, Lane, Work
from service.engine.job import SequenceCall


class SequenceLane:
    """Who has a slot, who waits for one, and whether a prompt or a step comes next.

    How far a prompt is only its runner knows: `prompt_done` and `ended` are told afterwards.
    """

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.waiting: tuple[deque[Work], deque[Work]] = (deque(), deque())
        self.live: dict[int, Work] = {}  # by the owner's id: those that take steps
        self.prompt: Work | None = None
        self.left: list[Any] = []
        self.running = False
        self.prompt_was_last = False
        self.changes = 0
        """How often sequences came or were given up."""

    def add(self, work: Work) -> None:
        self.changes += 1
        self.lane = work.lane
        self.waiting[work.priority].append(work)

    def discard(self, owner: Any) -> None:
        """Forget an owner; its slot is free."""
        self.changes += 1
        for works in self.waiting:
            for work in [w for w in works if w.owner is owner]:
                works.remove(work)
        if self.prompt is not None and self.prompt.owner is owner:
            self.prompt = None
            self.left.append(owner)
        elif self.live.pop(id(owner), None) is not None:
            self.left.append(owner)

    def urgency(self, *, long: bool = True) -> int | None:
        if self.running or (not long and self._all_long()):
            return None
        levels = [work.priority for work in self.live.values()]
        if self.prompt is not None:
            levels.append(self.prompt.priority)
        # Of those that wait too: what holds the slot that somebody waits for is as urgent.
        levels += [level for level, works in enumerate(self.waiting) if works]
        return min(levels, default=None)

    def neglected(self, *, long: bool = True) -> bool:
        """Never: those of the background rest while somebody waits for others, for they would step with them."""
        return False

    def _all_long(self) -> bool:
        """Whether none but long jobs are here; sequences step together, so one short one takes the others along."""
        return all(work.long for work in self._everyone())

    def _everyone(self) -> Iterator[Work]:
        prompts = [self.prompt] if self.prompt is not None else []
        return chain(self.live.values(), prompts, *self.waiting)

    def of_group(self, group: Any) -> int:
        """How many of a group are here; nobody is of None."""
        return sum(work.group is group for work in self._everyone()) if group is not None else 0

    def rows(self) -> int:
        return len(self.live) + (self.prompt is not None) + sum(len(works) for works in self.waiting)

    def take(self, *, long: bool = True) -> Batch:
        self.running = True
        all_long = self._all_long()
        if self.prompt is not None and self.prompt.priority == BACKGROUND and self.waiting[INTERACTIVE]:
            self.waiting[BACKGROUND].appendleft(self.prompt)
            self.left.append(self.prompt.owner)
            self.prompt = None
        left, self.left = tuple(self.left), []
        if self.prompt is None and len(self.live) < self.lane.slots:
            self.prompt = self._next_prompt()
        prompt, live = self._pressing()
        if prompt is not None and not (live and self.prompt_was_last):
            self.prompt_was_last = True
            return Batch(self.lane, prompt=prompt, left=left, long=all_long)
        self.prompt_was_last = False
        return Batch(self.lane, live=live, left=left, one_step=prompt is not None, long=all_long)

    def _pressing(self) -> tuple[Work | None, tuple[Work, ...]]:
        """The prompt and the sequences that do not rest."""
        pressing = tuple(work for work in self.live.values() if work.priority == INTERACTIVE)
        if self.prompt is not None and self.prompt.priority == INTERACTIVE:
            return self.prompt, pressing
        return (None, pressing) if pressing else (self.prompt, tuple(self.live.values()))

    def _next_prompt(self) -> Work | None:
        works = self.waiting[INTERACTIVE]
        if not works:
            patient = sum(work.priority == BACKGROUND for work in self.live.values())
            if patient < len(self.live) or patient >= max(1, self.lane.slots // 2):
                return None
            works = self.waiting[BACKGROUND]
        if not works:
            return None
        slots = Counter(id(work.group or work.owner) for work in self.live.values())

        def turn(work: Work) -> tuple[bool, int]:
            assert isinstance(work.call, SequenceCall)
            return not work.call.resumes, slots[id(work.group or work.owner)]

        chosen = min(works, key=turn)
        works.remove(chosen)
        return chosen

    def prompt_done(self, work: Work) -> None:
        """The prompt is computed: its sequence takes steps from now on."""
        if self.prompt is work:
            self.prompt = None
            self.live[id(work.owner)] = work

    def ended(self, work: Work) -> None:
        """The sequence is over, and its runner knows it."""
        if self.prompt is work:
            self.prompt = None
        elif self.live.get(id(work.owner)) is work:
            del self.live[id(work.owner)]

    def finish(self) -> None:
        self.running = False
