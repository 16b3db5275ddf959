"""One version of one model in the store: what is known of it, and whether it serves."""

from dataclasses import dataclass
from typing import Literal

from service.errors import NotReady
from service.model import Card, LoadedModel
from service.store import Fingerprint, Key

State = Literal["loading", "ready", "refused", "unloaded"]


@dataclass(frozen=True)
class Entry:
    """`problem` says why it was refused. With a `card` it can be asked for: `model` serves, and where that is None it was
    unloaded. `bytes` is about what it takes in memory.
    """

    name: str
    version: str
    fingerprint: Fingerprint
    state: State = "loading"
    problem: str | None = None
    card: Card | None = None
    model: LoadedModel | None = None
    bytes: int = 0

    @property
    def key(self) -> Key:
        return self.name, self.version

    @property
    def file_bytes(self) -> int:
        """Size of the directory's files."""
        return sum(size for _, size, _, _ in self.fingerprint)

    @property
    def order(self) -> tuple[int, ...]:
        """Versions are ordered by their numbers."""
        return tuple(int(part) if part.isdecimal() else -1 for part in self.version.split("."))

    def not_ready(self) -> NotReady:
        """The error for a request that comes before it serves."""
        why = "is being loaded: try again" if self.state == "loading" else f"was refused: {self.problem}"
        return NotReady(f"model: '{self.name}@{self.version}' {why}", field="model", retry_after=2)
