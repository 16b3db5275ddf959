"""The service's engine in process: one thread that runs graphs, asked by this one."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeVar

from jobs.errors import JobFailed
from jobs.models import limits_of
from service.engine.job import Job
from service.engine.loop import Engine
from service.engine.ticket import Model, Ticket
from service.errors import BadRequest, Invalid, ModelFailed, TooLarge
from service.model import LoadedModel
from service.settings import Settings

K = TypeVar("K")
ROW_ERRORS = (BadRequest, Invalid, TooLarge, ModelFailed)
"""What can be wrong with a row; any other error is the job's."""
RowError = BadRequest | Invalid | TooLarge | ModelFailed


@dataclass(frozen=True)
class _Submitted:
    """Jobs of one row, and where each of them comes when it has ended."""

    tickets: list[Ticket]
    ends: SimpleQueue[Ticket]


class InProcess:
    """A model and an engine for it. Start it before use, and stop it afterwards."""

    def __init__(self, model: LoadedModel, settings: Settings) -> None:
        self.model = model
        self._hung = ""
        self._engine = Engine(
            settings.workers, limits_of(settings), hang_seconds=settings.hang_seconds, on_hang=self._hangs
        )

    def start(self) -> None:
        """Start the thread."""
        self._engine.start()

    def stop(self) -> None:
        """Stop it."""
        self._engine.stop()

    def run(self, job: Job, work: float) -> Any:
        """The result of one job. Raises its error."""
        (result,) = self._wait(self._submit([(job, work)]))
        return result

    def each(
        self, asked: Iterable[tuple[K, Sequence[tuple[Job, float]] | RowError]], window: int
    ) -> Iterator[tuple[K, list[Any] | RowError]]:
        """The results of each row's jobs, or its error, in the rows' order; `window` rows are under way at once.

        A row that comes as an error goes through as it is.
        """
        under_way: deque[tuple[K, _Submitted | RowError]] = deque()

        def first() -> tuple[K, list[Any] | RowError]:
            key, submitted = under_way.popleft()
            if isinstance(submitted, ROW_ERRORS):
                return key, submitted
            try:
                return key, self._wait(submitted)
            except ROW_ERRORS as error:
                return key, error

        for key, jobs in asked:
            under_way.append((key, jobs if isinstance(jobs, ROW_ERRORS) else self._submit(jobs)))
            if len(under_way) >= window:
                yield first()
        while under_way:
            yield first()

    def _submit(self, jobs: Sequence[tuple[Job, float]]) -> _Submitted:
        ends: SimpleQueue[Ticket] = SimpleQueue()
        return _Submitted([self._engine.submit(self.model, job, work, ends.put) for job, work in jobs], ends)

    def _wait(self, submitted: _Submitted) -> list[Any]:
        """The results of jobs, in order. Raises the first error of theirs."""
        for _ in submitted.tickets:
            submitted.ends.get()
        if self._hung:
            raise JobFailed(self._hung)
        for ticket in submitted.tickets:
            if ticket.error is not None:
                raise ticket.error
        return [ticket.result for ticket in submitted.tickets]

    def _hangs(self, model: Model, why: str) -> None:
        self._hung = f"model {model.id} hangs: {why}"
