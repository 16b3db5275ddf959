"""The output and the error file of a batch, written from its results in the order of its input."""

import heapq
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass

from service.batches import lines
from service.batches.contents import Contents, Writing
from service.batches.outcome import Outcome, written
from service.batches.records import Batch
from service.batches.store import Store

_UNANSWERED = {
    "expired": Outcome(
        code="batch_expired", message="The completion window was over before this request was answered."
    ),
    "cancelled": Outcome(code="batch_cancelled", message="The batch was cancelled before this request was answered."),
    "failed": Outcome(
        code="batch_failed", message="The batch failed before this request was answered: see its errors."
    ),
}


@dataclass(frozen=True, slots=True)
class Published:
    """Id and bytes of each file, None where there was nothing to write; how many lines had no answer."""

    output: tuple[str, int] | None
    error: tuple[str, int] | None
    unanswered: int


def publish(contents: Contents, batch: Batch, most_bytes: int, halted: Callable[[], bool]) -> Published:
    """Write the files of a batch for which nothing more is asked. Lines without an answer stand in the error file.

    Takes a while, on a thread of its own with a connection of its own. Raises Halted, OSError.
    """
    with ExitStack() as stack:
        store = stack.enter_context(closing(Store(contents.database)))
        files: dict[bool, Writing] = {}
        unanswered = 0
        results = store.results(batch.id)
        for _, good, text, answered in heapq.merge(results, _missing(contents, batch, store, most_bytes)):
            if halted():
                raise lines.Halted
            if good not in files:
                files[good] = stack.enter_context(contents.begin())
            files[good].write(text)
            unanswered += not answered
        for file in files.values():
            file.keep()
    made = {good: (file.id, file.bytes) for good, file in files.items()}
    return Published(made.get(True), made.get(False), unanswered)


def _missing(
    contents: Contents, batch: Batch, store: Store, most_bytes: int
) -> Iterator[tuple[int, bool, bytes, bool]]:
    """What stands in the error file for lines that have no result."""
    outcome = _UNANSWERED.get(batch.ending or "")
    path = contents.path(batch.input_file_id)
    if outcome is None or not batch.total:
        return
    done = store.done(batch.id)
    for number, line in lines.read(path, most_bytes):
        if number not in done:
            yield number, False, written(batch.id, number, line.custom_id, outcome), False
