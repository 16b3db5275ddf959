"""Who is let in, and what each model may take: queues are bounded in units of work, and overload is refused at once."""

import weakref
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Mapping

from service.engine.batch import INTERACTIVE, Lane
from service.engine.pace import Pace
from service.engine.share import EVEN, Share
from service.engine.ticket import Model, Ticket
from service.errors import Overloaded

_OF_ROOM = 4


class Admission:
    """Counts the jobs of each model and the time that they take. Not thread-safe, but for `admit`, `wait_seconds` and
    `knows`.

    `queue_seconds` bounds the work that may stand before a new request, `queue_requests` the number of jobs under way; a
    model's share may say something else, by its id. No model may have more than `_OF_ROOM` times as many jobs as there is
    room left for, so that a crowd at one of them leaves room for the others (Choudhury and Hahne, 1998: dynamic
    thresholds). Background jobs may be half as many, and nobody else waits for them. `forget` is told of models that are in
    memory no more.
    """

    def __init__(
        self,
        workers: int,
        queue_seconds: float,
        queue_requests: int,
        shares: Mapping[str, Share],
        forget: Callable[[Hashable], None],
    ) -> None:
        self._workers = workers
        self._queue_seconds = queue_seconds
        self._queue_requests = queue_requests
        self._shares = shares
        self._forget = forget
        self._pace: defaultdict[Hashable, Pace] = defaultdict(Pace)
        self._busy: dict[Hashable, tuple[Pace, float]] = {}  # the models that have jobs, with their weights
        self._known: set[Hashable] = set()
        self._gone: deque[Hashable] = deque()

    def admit(self, model: Model, live: int, priority: int = INTERACTIVE) -> None:
        """Raise Overloaded where a model's queue is full, with the time to come back. `live` jobs are under way."""
        share = self.share(model)
        wait, jobs = self.wait_seconds(model, priority), self._pace[model.key].jobs
        seconds = share.queue_seconds or self._queue_seconds
        most, most_of_model = self._queue_requests, share.queue_requests or self._queue_requests
        if priority != INTERACTIVE:
            most, most_of_model = max(1, most // 2), max(1, most_of_model // 2)
        if wait > seconds or jobs >= min(_OF_ROOM * (most - live), most_of_model):
            raise Overloaded(
                f"{wait:.1f} s of work stand before this request to model {model.id} and {live} jobs are "
                f"under way, {jobs} of them for it: send it again after the seconds that Retry-After gives",
                retry_after=max(1.0, wait - seconds / 2),
            )

    def wait_seconds(self, model: Model, priority: int = INTERACTIVE) -> float:
        """How long the work before a new request will take, by the measured rates.

        Models have their turns by their weights: until this one has done what it has to do, each of the others does as
        much for its own weight, if it has so much to do.
        """
        own, busy = self._pace[model.key].seconds_left(priority), list(self._busy.values())
        if not own or len(busy) == 1:
            return own / self._workers
        weight = self.share(model).weight
        return sum([min(pace.seconds_left(priority), own * other / weight) for pace, other in busy]) / self._workers

    def share(self, model: Model) -> Share:
        """What the model may take."""
        return self._shares.get(model.id, EVEN)

    def pace(self, model: Model) -> Pace:
        """How fast the model is."""
        return self._pace[model.key]

    def quickest(self, lane: Lane, rows: int) -> float:
        """How long a batch takes where nothing disturbs it; infinity where nothing was measured."""
        return self._pace[lane.queue].quickest(lane, rows)

    def came(self, ticket: Ticket) -> None:
        """Count a job of a known model that is taken in, and tell it its model's pace."""
        pace = ticket.pace = self._pace[ticket.model.key]
        if not pace.jobs:
            self._busy[ticket.model.key] = pace, self.share(ticket.model).weight
        pace.job_came(ticket.work, ticket.priority)

    def had(self, ticket: Ticket, seconds: float) -> None:
        """Count time that a job under way was given."""
        ticket.seconds += seconds
        ticket.pace.job_had(seconds, ticket.priority)

    def ended(self, ticket: Ticket, *, served: bool) -> None:
        """Count a job that is over."""
        ticket.pace.job_ended(ticket.work, ticket.seconds, ticket.priority, served=served)
        if not ticket.pace.jobs:
            self._busy.pop(ticket.model.key, None)

    def knows(self, model: Model) -> bool:
        """Whether it was met."""
        return model.key in self._known

    def meet(self, model: Model) -> None:
        """Take note of a new model, and let go of what is kept about those that are in memory no more."""
        if self.knows(model):
            return
        self._known.add(model.key)
        # Called on whichever thread drops the model last, maybe in the middle of a decision: only a note is taken.
        weakref.finalize(model, self._gone.append, model.key).atexit = False
        while self._gone:
            key = self._gone.popleft()
            self._known.discard(key)
            self._pace.pop(key, None)
            self._forget(key)
