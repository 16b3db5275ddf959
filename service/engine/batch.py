"""What the scheduler hands out: parts of calls that run together."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from service.engine.job import Call

INTERACTIVE, BACKGROUND = 0, 1


@dataclass(frozen=True, slots=True)
class Lane:
    """What can be batched together, and how much of it in one batch: `max_rows` in all, `each` of one call, and `patient`
    of background work. The graph is given `at_once` of them in a run. From `enough` rows on more of them are hardly faster
    for each, and from `few` on two batches of them beside each other are over before one of twice as many. A run of a size
    that is none of `sizes` is padded to the next. `slots` > 0 makes it a lane of sequences, in that `part` of its graph's rows.

    Two lanes are the same where queue and key are; the limits of the latest work count.
    """

    queue: Hashable
    key: Hashable
    max_rows: int = field(compare=False)
    slots: int = field(default=0, compare=False)
    part: int = field(default=0, compare=False)
    each: int = field(default=2**31, compare=False)
    patient: int = field(default=2**31, compare=False)
    at_once: int = field(default=2**31, compare=False)
    enough: int = field(default=2**31, compare=False)
    few: int = field(default=2**31, compare=False)
    sizes: tuple[int, ...] = field(default=(), compare=False)


@dataclass(slots=True, eq=False)
class Work:
    """A call that waits: `taken` of its rows are in a batch or done, `done` are done. Of a sequence neither is used: its
    runner knows how far it is.

    `group` tells whose sequences belong together; without one, an owner's is its own. `long` says that the owner has had
    much time already: it may be left waiting a moment, to keep a worker free for short ones. Where not all fit into a
    batch, the earliest `end` goes first: that of its job in a service that all share evenly.
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
    long: bool = False
    end: float = 0.0
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = self.call.size

    @property
    def left(self) -> int:
        return self.size - self.taken


class Piece(NamedTuple):
    """Rows start to stop of a work."""

    work: Work
    start: int
    stop: int


@dataclass(slots=True, eq=False)
class Batch:
    """What runs next in a lane: pieces of calls. In a lane of sequences, a part of one `prompt`, or else a step or more
    of these `live` sequences; `left` are owners whose slots are free since the last batch. `alone` says that nothing else
    runs or waits, but what is patient; `one_step` that a prompt waits to go on; `long` that all of it belongs to long jobs,
    and `patient` that nobody waits for it.
    """

    lane: Lane
    pieces: tuple[Piece, ...] = ()
    prompt: Work | None = None
    live: tuple[Work, ...] = ()
    left: tuple[Any, ...] = ()
    alone: bool = False
    one_step: bool = False
    long: bool = False
    patient: bool = False
    expected: float = 0.0
    """Seconds that it will take, by what was measured; 0 where nothing was."""
    rows: int = field(init=False)
    works: list[Work] = field(init=False)
    """Everything that has a part in it."""

    def __post_init__(self) -> None:
        self.rows = sum([p.stop - p.start for p in self.pieces]) or (1 if self.prompt else len(self.live))
        self.works = [p.work for p in self.pieces] + ([self.prompt] if self.prompt else list(self.live))

    @property
    def model(self) -> Any:
        """The one that it is of."""
        return self.works[0].owner.model
