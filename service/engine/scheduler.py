"""Who runs next: a pure data structure that knows no runtime, no asyncio and no clock.

Work waits in lanes; the rows of one lane can share a batch. The lanes of a model make a queue, and queues take turns by
the time that they have used, divided by their weight: the one that has had least goes first. Within a lane requests
share a batch evenly, so that a thousand-row request does not hold up a one-row request behind it, and where there are more
of them than rows, those go first that would end first if all shared evenly (sojourn.py). Interactive work goes
before background work, and a caller may keep long jobs, or those of the background, to some of its workers, so that others
find one free.

A crowd of small calls is cut into one batch more than there are workers, where smaller ones are as fast: while answers go
out and the next calls come in, there is another to run. Idle workers share what is there, though a row takes longer so.

    next_batch -> (run it, advance its jobs) -> add what they ask for next -> finish
"""

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from service.engine.batch import BACKGROUND, INTERACTIVE, Batch, Lane, Piece, Work
from service.engine.job import RowCall
from service.engine.sequence_lane import SequenceLane
from service.engine.sizes import padded, whole
from service.engine.sojourn import FairOrder

_PADDING = 1 / 16  # of a batch at most
_PACK = 4  # sequences of a group that stay together, so that their prompt is computed once


class _RowLane:
    """Rows of independent calls; any number of batches may be in flight."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.waiting: tuple[deque[Work], deque[Work]] = (deque(), deque())
        self._long_next = False

    def add(self, work: Work) -> None:
        self.lane = work.lane
        self.waiting[work.priority].append(work)

    def urgency(self, *, long: bool = True) -> int | None:
        for level, works in enumerate(self.waiting):
            if works and (long or not all(work.long for work in works)):
                return level
        return None

    def rows(self) -> int:
        return sum(work.left for works in self.waiting for work in works)

    def discard(self, owner: Any) -> None:
        for works in self.waiting:
            for work in [w for w in works if w.owner is owner]:
                works.remove(work)

    def neglected(self, *, long: bool = True) -> bool:
        """Whether background work waits in it that may run."""
        return any(long or not work.long for work in self.waiting[BACKGROUND])

    def take(self, level: int, *, long: bool = True, workers: int = 1, idle: int = 1, running: int = 0) -> Batch:
        """A batch of what waits at a level, while so many of the workers are idle and the others have `running` rows of its
        queue."""
        everyone = self.waiting[level]
        works = self._of_one_kind([work for work in everyone if long or not work.long])
        rows = [work.left for work in works]
        room = self.lane.max_rows if level == INTERACTIVE else min(self.lane.max_rows, self.lane.patient)
        several = room > self.lane.at_once
        if several:  # each idle worker gets its part of what is there
            part = -(-sum(rows) // idle)
            room = min(room, -(-part // self.lane.at_once) * self.lane.at_once)
        elif len(works) > 1:
            room = min(room, self._part_of_crowd(rows, workers + 1, idle, running))
        if sum(rows) > room or max(rows, default=0) > self.lane.each:
            works.sort(key=lambda work: work.end)
            rows = self._shared(works, room, several=several)
        pieces = []
        for work, count in zip(works, rows, strict=True):
            if count:
                pieces.append(Piece(work, work.taken, work.taken + count))
                work.taken += count
                everyone.remove(work)
                if work.left:
                    everyone.append(work)
        return Batch(self.lane, tuple(pieces), long=pieces[0].work.long)

    def _of_one_kind(self, works: list[Work]) -> list[Work]:
        """Those of short jobs, and the next time those of long ones: a short one that shared a batch with a long one would
        take as long, and a worker that others wait for."""
        kinds = {work.long for work in works}
        if len(kinds) < 2:
            return works
        chosen, self._long_next = self._long_next, not self._long_next
        return [work for work in works if work.long == chosen]

    def _part_of_crowd(self, rows: list[int], parts: int, idle: int, running: int) -> int:
        """How many rows make one of so many equal parts of what waits and runs, and little of it padding. It may be larger
        where that is faster, but not so that one of the idle workers would have nothing."""
        waiting = sum(min(count, self.lane.each) for count in rows)
        least = min(self.lane.enough, max(self.lane.few, -(-waiting // idle)))
        most = min(waiting, max(least, -(-(waiting + running) // parts)))
        sizes = self.lane.sizes
        return most if padded(most, sizes) - most <= most * _PADDING else min(most, whole(most, sizes))

    def _shared(self, works: list[Work], room: int, *, several: bool) -> list[int]:
        """How many rows of each are taken, where not all fit."""
        share, takes = max(1, room // len(works)), []
        for work in works:
            # Large calls have several short runs in turn: parts of all of them in each would take time to put together.
            takes.append(0 if several and work.left > share else min(work.left, share, room, self.lane.each))
            room -= takes[-1]
        for i, work in enumerate(works):
            # What the small ones left over goes to those who have more, the first in line first.
            more = min(room, min(work.left, self.lane.each) - takes[i])
            room -= more
            takes[i] += more
        return takes

    def finish(self) -> None:
        """Nothing: any number of batches may be in flight."""


@dataclass(slots=True)
class _Queue:
    used: float = 0.0
    weight: float = 1.0
    in_flight: int = 0
    running: int = 0  # rows in flight
    lanes: dict[Hashable, _RowLane | SequenceLane] = field(default_factory=dict)
    """By the lanes' keys."""
    order: FairOrder = field(default_factory=FairOrder)

    def busy(self) -> bool:
        return self.in_flight > 0 or any(lane.urgency() is not None for lane in self.lanes.values())


class Scheduler:
    """Chooses what runs next on so many workers. Not thread-safe, but for `news`: the loop holds a lock around it."""

    def __init__(self, workers: int = 1) -> None:
        self._workers = workers
        self._came = 0  # how often work came that any worker can take
        self._queues: dict[Hashable, _Queue] = {}
        self._long = 0  # batches in flight of long jobs alone
        self._patient = 0  # and of background jobs

    def add(self, work: Work, weight: float = 1.0) -> None:
        """Take a call in. A queue that was idle starts level with the least served of the others; `weight` is a new
        queue's."""
        queue = self._queues.get(work.lane.queue)
        if queue is None:
            queue = self._queues[work.lane.queue] = _Queue(weight=weight)
        if not queue.busy():
            queue.used = max(queue.used, min((q.used for q in self._queues.values() if q.busy()), default=0.0))
        lane = queue.lanes.get(work.lane.key)
        if lane is None:
            lane = queue.lanes[work.lane.key] = SequenceLane(work.lane) if work.lane.slots else _RowLane(work.lane)
        if isinstance(work.call, RowCall):
            work.end = queue.order.end_of(work.owner, work.size + work.call.ahead)
        lane.add(work)
        if not (isinstance(lane, SequenceLane) and lane.running):
            self._came += 1

    def news(self, lane: Lane) -> int:
        """How often there was something to leave the steps of a lane's sequences for: work that any worker can take, or one
        of its own that came or was given up. What ends in other lanes, or waits for those who step there, is none."""
        return self._came + self._sequences(lane).changes

    def runnable(self, most_long: int | None = None, most_patient: int | None = None) -> bool:
        """Whether next_batch would find one."""
        long = most_long is None or self._long < most_long
        least = self._least(most_patient)
        lanes = (lane for queue in self._queues.values() for lane in queue.lanes.values())
        return any((level := lane.urgency(long=long)) is not None and level <= least for lane in lanes)

    def _least(self, most_patient: int | None) -> int:
        """The least urgent work that may run now."""
        return BACKGROUND if most_patient is None or self._patient < most_patient else INTERACTIVE

    def next_batch(
        self,
        most_long: int | None = None,
        most_patient: int | None = None,
        fits: Callable[[Lane, int], bool] | None = None,
        *,
        overdue: bool = False,
    ) -> Batch | None:
        """The next batch to run, or None where nothing can. Of long jobs alone `most_long` batches may be in flight, and of
        background jobs `most_patient`. Whoever cannot run just any says by its lane and rows whether the next one `fits`.
        Where they are `overdue`, rows of the background go first.
        """
        long = most_long is None or self._long < most_long
        found = self._foremost(self._least(most_patient), long=long, overdue=overdue)
        if found is None:
            return None
        level, queue, key = found
        lane = queue.lanes[key]
        if fits is not None and not fits(lane.lane, min(lane.rows(), lane.lane.max_rows)):
            return None
        del queue.lanes[key]
        running = sum(queue.in_flight for queue in self._queues.values())
        quiet, idle = not running, max(1, self._workers - running)
        if isinstance(lane, _RowLane):
            batch = lane.take(level, long=long, workers=self._workers, idle=idle, running=queue.running)
        else:
            batch = lane.take(long=long)
        queue.in_flight += 1
        queue.running += batch.rows
        queue.order.ran(sum(piece.stop - piece.start for piece in batch.pieces))
        for work in (piece.work for piece in batch.pieces):
            if not work.left and not work.call.ahead:
                queue.order.served(work.owner)
        self._long += batch.long
        if isinstance(lane, SequenceLane) or lane.urgency() is not None:
            # Back at the end: the lanes of a queue take turns. An empty lane of rows is forgotten.
            queue.lanes[key] = lane
        if level == BACKGROUND:
            self._patient += 1
            batch.patient = True
        elif quiet:
            # Where long jobs are to leave a worker free, others need not: of sequences, all that can use it are in this batch.
            all_cores = most_long is None or (isinstance(lane, SequenceLane) and not batch.long)
            batch.alone = all_cores and not self.runnable(None, 0)
        return batch

    def _foremost(self, least: int, *, long: bool, overdue: bool) -> tuple[int, _Queue, Hashable] | None:
        """Whose turn it is: the level at which it takes from a queue, and the key of the lane there."""
        best: tuple[tuple[bool, int, float], _Queue, Hashable] | None = None
        for queue in self._queues.values():
            for key, lane in queue.lanes.items():
                level = lane.urgency(long=long)
                if level is None or level > least:
                    continue
                first = overdue and least == BACKGROUND and lane.neglected(long=long)
                rank = (not first, BACKGROUND if first else level, queue.used)
                if best is None or rank < best[0]:
                    best = (rank, queue, key)
        return None if best is None else (best[0][1], *best[1:])

    def finish(self, batch: Batch, seconds: float) -> None:
        """Say that a batch has run and what it cost, after what its jobs ask for next was added."""
        queue = self._queues[batch.lane.queue]
        queue.in_flight -= 1
        queue.running -= batch.rows
        self._long -= batch.long
        self._patient -= batch.patient
        queue.used += seconds / queue.weight
        lane = queue.lanes.get(batch.lane.key)
        if lane is not None:
            lane.finish()

    def prompt_done(self, work: Work) -> None:
        """Say that a sequence's prompt is computed; it takes steps from now on."""
        self._sequences(work.lane).prompt_done(work)

    def ended(self, work: Work) -> None:
        """Say that a sequence is over and that its runner knows it; its slot is free."""
        self._sequences(work.lane).ended(work)

    def give_up(self, work: Work) -> None:
        """Say that a sequence is over, and that its runner does not know it yet."""
        self._sequences(work.lane).discard(work.owner)

    def _sequences(self, lane: Lane) -> SequenceLane:
        found = self._queues[lane.queue].lanes[lane.key]
        assert isinstance(found, SequenceLane)
        return found

    def discard(self, owner: Any, lane: Lane | None) -> None:
        """Forget an owner that has ended or was cancelled; its slot is free."""
        queue = self._queues.get(lane.queue) if lane else None
        found = queue.lanes.get(lane.key) if queue and lane else None
        if queue is not None:
            queue.order.forget(owner)
        if queue is not None and found is not None:
            found.discard(owner)
            if isinstance(found, _RowLane) and found.urgency() is None:
                del queue.lanes[found.lane.key]  # shapes are the client's choice: an empty lane is forgotten

    def forget(self, queue: Hashable) -> None:
        """Let go of the queue of a model that is gone."""
        self._queues.pop(queue, None)

    def crowding(self, group: Any, lane: Lane) -> tuple[bool, bool, int]:
        """How little a lane of sequences suits one more of a group: the least of several is the best. One that has a slot to
        spare goes before others, then one where the group has begun a pack, and then the one with the fewest sequences."""
        queue = self._queues.get(lane.queue)
        found = queue.lanes.get(lane.key) if queue is not None else None
        if not isinstance(found, SequenceLane):
            return False, True, 0
        rows = found.rows()
        return rows >= lane.slots, not found.of_group(group) % _PACK, rows

    def waiting_rows(self, queue: Hashable) -> int:
        """Rows of a queue that are in no batch yet."""
        found = self._queues.get(queue)
        return sum(lane.rows() for lane in found.lanes.values()) if found else 0
