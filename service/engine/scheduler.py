"""Who runs next: a pure data structure that knows no runtime, no asyncio and no clock.

Work waits in lanes; the rows of one lane can share a batch. The lanes of a model make a queue, and queues take turns by
the time that they have used, divided by their weight: the one that has had least goes first. Within a lane requests
share a batch evenly, so that a thousand-row request does not hold up a one-row request behind it. Interactive work goes
before background work.

    next_batch -> (run it, advance its jobs) -> add what they ask for next -> finish
"""

from collections import Counter, deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from service.engine.job import Call

INTERACTIVE, BACKGROUND = 0, 1


@dataclass(frozen=True, slots=True)
class Lane:
    """What can be batched together, and how much of it at once. `slots` > 0 makes it a lane of sequences.

    Two lanes are the same where queue and key are; the limits of the latest work count.
    """

    queue: Hashable
    key: Hashable
    max_rows: int = field(compare=False)
    slots: int = field(default=0, compare=False)
    chunk: int = field(default=0, compare=False)


@dataclass(slots=True, eq=False)
class Work:
    """A call that waits: `taken` of its rows (or prompt tokens) are in a batch or done, `done` are done.

    `group` tells whose sequences belong together; without one, an owner's is its own.
    """

    owner: Any
    call: Call
    lane: Lane
    priority: int = INTERACTIVE
    taken: int = 0
    done: int = 0
    failed: Exception | None = None
    parts: list = field(default_factory=list)
    group: Any = None
    again: bool = False

    @property
    def left(self) -> int:
        return self.call.size - self.taken


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows (or prompt tokens) start to stop of a work."""

    work: Work
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Pieces that run together. `prefill` marks a chunk of one prompt; `left` are sequences whose slots are free."""

    lane: Lane
    pieces: tuple[Piece, ...]
    prefill: bool = False
    left: tuple[Any, ...] = ()

    @property
    def rows(self) -> int:
        return 1 if self.prefill else sum(p.stop - p.start for p in self.pieces)


class _RowLane:
    """Rows of independent calls; any number of batches may be in flight."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.waiting: tuple[deque[Work], deque[Work]] = (deque(), deque())

    def add(self, work: Work) -> None:
        self.lane = work.lane
        self.waiting[work.priority].append(work)

    def urgency(self) -> int | None:
        return next((level for level, works in enumerate(self.waiting) if works), None)

    def rows(self) -> int:
        return sum(work.left for works in self.waiting for work in works)

    def discard(self, owner: Any) -> None:
        for works in self.waiting:
            for work in [w for w in works if w.owner is owner]:
                works.remove(work)

    def take(self) -> Batch:
        works = next((works for works in self.waiting if works), deque())
        room = self.lane.max_rows
        share, takes = max(1, room // max(1, len(works))), []
        for work in works:
            takes.append(min(work.left, share, room))
            room -= takes[-1]
        pieces = []
        for i, work in enumerate(works):
            # What the small ones left over goes to those who have more, the first in line first.
            more = min(room, work.left - takes[i])
            room -= more
            if takes[i] + more:
                pieces.append(Piece(work, work.taken, work.taken + takes[i] + more))
        for piece in pieces:
            piece.work.taken = piece.stop
            works.remove(piece.work)
            if piece.work.left:
                works.append(piece.work)
        return Batch(self.lane, tuple(pieces))

    def finish(self, batch: Batch) -> None:
        pass


class _SequenceLane:
    """Sequences that hold slots from their prompt to their end; one batch in flight.

    A prompt is computed in chunks, and between two chunks the other sequences take a step. A slot goes to the group
    that has fewest of them, so that a request for many sequences does not hold up one for few.
    """

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.waiting: tuple[deque[Work], deque[Work]] = (deque(), deque())
        self.live: dict[int, Work] = {}  # by the owner's id: the call that took the slot
        self.ready: dict[int, Work] = {}
        self.prompt: Work | None = None
        self.left: list[Any] = []
        self.running = False
        self.prompt_was_last = False

    def add(self, work: Work) -> None:
        fresh = work.call.sampling is not None  # type: ignore[union-attr]
        if not fresh:
            self.ready[id(work.owner)] = work
        elif id(work.owner) in self.live:
            # A sequence that starts over keeps its turn, but its slot is filled anew.
            self.leave(work.owner)
            work.again = True
            self.waiting[work.priority].appendleft(work)
        else:
            self.waiting[work.priority].append(work)

    def leave(self, owner: Any) -> None:
        if self.live.pop(id(owner), None) is not None:
            self.left.append(owner)
        self.ready.pop(id(owner), None)

    def discard(self, owner: Any) -> None:
        for works in self.waiting:
            for work in [w for w in works if w.owner is owner]:
                works.remove(work)
        if self.prompt is not None and self.prompt.owner is owner:
            self.prompt = None
        self.leave(owner)

    def urgency(self) -> int | None:
        if self.running:
            return None
        levels = [work.priority for work in self.ready.values()]
        if self.prompt is not None:
            levels.append(self.prompt.priority)
        elif len(self.live) < self.lane.slots:
            levels += [level for level, works in enumerate(self.waiting) if works]
        return min(levels, default=None)

    def rows(self) -> int:
        return len(self.ready) + (self.prompt is not None) + sum(len(works) for works in self.waiting)

    def take(self) -> Batch:
        self.running = True
        left, self.left = tuple(self.left), []
        if self.prompt is None and len(self.live) < self.lane.slots:
            first = next((waiting for waiting in self.waiting if waiting), None)
            if first:
                slots = Counter(id(work.group or work.owner) for work in self.live.values())
                self.prompt = min(first, key=lambda work: (not work.again, slots[id(work.group or work.owner)]))
                first.remove(self.prompt)
                self.live[id(self.prompt.owner)] = self.prompt
        if self.prompt is not None and not (self.ready and self.prompt_was_last):
            self.prompt_was_last = True
            work = self.prompt
            stop = min(work.call.size, work.taken + self.lane.chunk)
            piece = Piece(work, work.taken, stop)
            work.taken = stop
            if not work.left:
                self.prompt = None
            return Batch(self.lane, (piece,), prefill=True, left=left)
        self.prompt_was_last = False
        works, self.ready = list(self.ready.values()), {}
        for work in works:
            work.taken = 1
        return Batch(self.lane, tuple(Piece(work, 0, 1) for work in works), left=left)

    def finish(self, batch: Batch) -> None:
        self.running = False


@dataclass(slots=True)
class _Queue:
    used: float = 0.0
    weight: float = 1.0
    in_flight: int = 0
    lanes: dict[Lane, _RowLane | _SequenceLane] = field(default_factory=dict)

    def busy(self) -> bool:
        return self.in_flight > 0 or any(lane.urgency() is not None for lane in self.lanes.values())


class Scheduler:
    """Chooses what runs next. Not thread-safe: the loop holds a lock around it."""

    def __init__(self) -> None:
        self._queues: dict[Hashable, _Queue] = {}

    def add(self, work: Work) -> None:
        """Take a call in. A queue that was idle starts level with the least served of the others."""
        queue = self._queues.get(work.lane.queue)
        if queue is None:
            queue = self._queues[work.lane.queue] = _Queue()
        if not queue.busy():
            queue.used = max(queue.used, min((q.used for q in self._queues.values() if q.busy()), default=0.0))
        lane = queue.lanes.get(work.lane)
        if lane is None:
            lane = queue.lanes[work.lane] = _SequenceLane(work.lane) if work.lane.slots else _RowLane(work.lane)
        lane.add(work)

    def runnable(self) -> bool:
        """Whether next_batch would find one."""
        return any(lane.urgency() is not None for queue in self._queues.values() for lane in queue.lanes.values())

    def next_batch(self) -> Batch | None:
        """The next batch to run, or None where nothing can."""
        best: tuple[int, float, _Queue, Lane] | None = None
        for queue in self._queues.values():
            for key, lane in queue.lanes.items():
                urgency = lane.urgency()
                if urgency is not None and (best is None or (urgency, queue.used) < best[:2]):
                    best = (urgency, queue.used, queue, key)
        if best is None:
            return None
        queue, key = best[2], best[3]
        lane = queue.lanes.pop(key)
        batch = lane.take()
        queue.in_flight += 1
        if isinstance(lane, _SequenceLane) or lane.urgency() is not None:
            # Back at the end: the lanes of a queue take turns. An empty lane of rows is forgotten.
            queue.lanes[key] = lane
        return batch

    def finish(self, batch: Batch, seconds: float) -> None:
        """Say that a batch has run and what it cost, after what its jobs ask for next was added."""
        queue = self._queues[batch.lane.queue]
        queue.in_flight -= 1
        queue.used += seconds / queue.weight
        lane = queue.lanes.get(batch.lane)
        if lane is not None:
            lane.finish(batch)

    def discard(self, owner: Any, lane: Lane | None) -> None:
        """Forget an owner that has ended or was cancelled; its slot is free."""
        queue = self._queues.get(lane.queue) if lane else None
        found = queue.lanes.get(lane) if queue and lane else None
        if queue is not None and found is not None:
            found.discard(owner)
            if isinstance(found, _RowLane) and found.urgency() is None:
                del queue.lanes[found.lane]  # shapes are the client's choice: an empty lane is forgotten

    def waiting_rows(self, queue: Hashable) -> int:
        """Rows of a queue that are in no batch yet."""
        found = self._queues.get(queue)
        return sum(lane.rows() for lane in found.lanes.values()) if found else 0
