"""How fast a model is: measured while it works, used to say how long the queue is and how large a batch may be."""

from service.engine.scheduler import Lane

_KEEP = 0.9
_FORGET_WORK = 0.98


class Pace:
    """One model's measured rates, as moving averages."""

    def __init__(self) -> None:
        self.backlog = 0.0
        self._busy_seconds = 0.0
        self._work_done = 0.0
        self._seconds_per_row: dict[Lane, float] = {}

    def batch_ran(self, lane: Lane, rows: int, seconds: float) -> None:
        """Count a batch."""
        self._busy_seconds += seconds
        known = self._seconds_per_row.get(lane)
        now = seconds / rows
        self._seconds_per_row[lane] = now if known is None else _KEEP * known + (1 - _KEEP) * now
        if len(self._seconds_per_row) > 256:  # image sizes are the client's choice
            self._seconds_per_row.pop(next(iter(self._seconds_per_row)))

    def job_ended(self, work: float, *, served: bool) -> None:
        """Count a job that is over; only a served one says something about the rate."""
        self.backlog = max(0.0, self.backlog - work)
        if served:
            self._busy_seconds *= _FORGET_WORK
            self._work_done = self._work_done * _FORGET_WORK + work

    def wait_seconds(self, workers: int) -> float:
        """How long the accepted work will take."""
        return self.backlog * self._busy_seconds / self._work_done / workers if self._work_done else 0.0

    def rows_within(self, lane: Lane, seconds: float, most: int) -> int:
        """How many rows a batch may have to end within so many seconds; one at least."""
        known = self._seconds_per_row.get(lane)
        return most if not known else max(1, min(most, int(seconds / known)))
