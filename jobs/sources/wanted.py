"""The columns of a table that a job reads: those of the model, and those that go through to the answer."""

from collections.abc import Sequence

from jobs.errors import JobFailed
from service.codecs.columns import listed


def wanted(columns: Sequence[str], kept: Sequence[str]) -> list[str]:
    """Both, each once."""
    return [*dict.fromkeys((*columns, *kept))]


def check(name: str, found: Sequence[str], names: Sequence[str]) -> None:
    """Raise JobFailed where a file lacks one of these columns."""
    missing = [column for column in names if column not in found]
    if missing:
        raise JobFailed(f"{name}: expected the columns {listed(missing)}, found {listed(found)}")
