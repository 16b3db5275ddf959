"""What the handlers share: one object, made at start-up."""

from dataclasses import dataclass

from starlette.requests import Request

from service.catalog import Catalog
from service.engine.loop import Engine
from service.metrics import Metrics
from service.settings import Settings


@dataclass(frozen=True)
class State:
    """The service's parts."""

    settings: Settings
    engine: Engine
    catalog: Catalog
    metrics: Metrics


def state_of(request: Request) -> State:
    """The state of the application that has the request."""
    return request.app.state.service
