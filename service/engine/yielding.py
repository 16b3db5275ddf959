"""Who leaves workers to whom: long jobs one to short ones, background jobs all but a few to those that somebody waits for."""

import time

from service.engine.jobs import Jobs
from service.engine.limits import Limits


class Yielding:
    """How many of the workers long jobs, and those of the background, may have just now. None stands for all of them."""

    def __init__(self, jobs: Jobs, limits: Limits, workers: int) -> None:
        self._jobs = jobs
        self._limits = limits
        self._workers = workers
        self._patient_next = time.monotonic()

    def calm(self) -> bool:
        """Whether nobody has waited for an answer for a while: the time of background jobs."""
        quiet = time.monotonic() - self._jobs.interactive_until
        return not self._jobs.interactive and quiet >= self._limits.calm_seconds

    def most_long(self) -> int | None:
        """How many long jobs may have."""
        return self._workers - 1 if self._workers > 1 and time.monotonic() < self._jobs.spare_until else None

    def most_patient(self) -> int | None:
        """How many background jobs may have."""
        now = time.monotonic()
        busy = not self.calm()
        if now >= self._patient_next:
            return 1 if busy else None
        if busy:
            return 0
        return self._workers - 1 if now < self._jobs.interactive_until + self._limits.spare_seconds else None

    def overdue(self) -> bool:
        """Whether background jobs have had nothing for so long that they go first."""
        return time.monotonic() >= self._patient_next + self._limits.patience_seconds and not self.calm()

    def patient_began(self) -> None:
        """A batch of background jobs has a worker now: the next one can wait for a while."""
        self._patient_next = time.monotonic() + self._limits.patience_seconds
