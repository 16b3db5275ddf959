"""The model that a request asks for: by name, or the default of its task."""

import asyncio
from collections.abc import Awaitable

from starlette.requests import Request

from service.api.state import State
from service.api.terms import terms_of
from service.entry import Entry
from service.errors import DeadlineExceeded
from service.model import LoadedModel


def model(
    request: Request, state: State, name: str | None, task: str, kind: str | None = None
) -> Awaitable[LoadedModel]:
    """The model, loaded again where it was unloaded. Without a name, the default of the task and kind of data.

    Raises NotFound, NotReady, Invalid where it cannot do the task, DeadlineExceeded.
    """
    return loaded(request, state, state.catalog.find(name or state.catalog.default(task, kind), task))


async def loaded(request: Request, state: State, entry: Entry) -> LoadedModel:
    """An entry's model, loaded again where it was unloaded. Raises NotFound, NotReady, DeadlineExceeded."""
    request.scope["amostra.model"] = entry.name
    if entry.model is not None:
        return entry.model
    # Shielded: a client that leaves must not take the others' model along.
    loading = asyncio.shield(asyncio.wrap_future(state.catalog.reload(entry)))
    seconds = terms_of(request, state.settings).seconds
    try:
        return await asyncio.wait_for(loading, seconds)
    except TimeoutError as error:
        raise DeadlineExceeded(f"model {entry.name} was not loaded within {seconds:g} s: ask again later") from error
