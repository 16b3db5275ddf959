"""What the handlers share: one object, made at start-up."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.requests import Request

from service.api.held import Held
from service.api.turns import Turns
from service.catalog import Catalog
from service.engine.loop import Engine
from service.keys import Keys
from service.metrics import Metrics
from service.result_cache import ResultCache
from service.settings import Settings

if TYPE_CHECKING:  # only where it is on is it imported
    from service.batches.desk import Desk
    from service.tracing import Tracing


@dataclass(frozen=True)
class State:
    """The service's parts."""

    settings: Settings
    engine: Engine
    catalog: Catalog
    metrics: Metrics
    keys: Keys | None = None
    tracing: "Tracing | None" = None
    desk: "Desk | None" = None
    results: ResultCache = field(init=False)
    turns: Turns = field(init=False)
    held: Held = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "results", ResultCache(self.settings.result_cache_mb * 2**20))
        object.__setattr__(self, "turns", Turns(self.engine, self.metrics))
        object.__setattr__(self, "held", Held(self.settings.requests_mb * 2**20))
        self.metrics.held.set_function(lambda: self.held.bytes)

    def charge(self, key: str, seconds: float) -> None:
        """A key's jobs had so much of a worker's time."""
        self.metrics.key_seconds.labels(key).inc(seconds)
        if self.keys is not None:
            self.keys.charge(key, seconds)


def state_of(request: Request) -> State:
    """The state of the application that has the request."""
    return request.app.state.service
