"""Routes of batches, in OpenAI's shape: a file of requests is answered in a file, while nobody else needs the machine."""

from starlette.requests import Request
from starlette.responses import Response

from service.api import answer, body
from service.api.files import desk_of, owner_of, page
from service.api.parsing import fields_as
from service.api.state import state_of
from service.batches.schemas import BatchBody, BatchesQuery


async def create_batch(request: Request) -> Response:
    """Have the requests of a file answered."""
    state = state_of(request)
    desk = desk_of(state)
    ask = await body.read_json(request, BatchBody, state.settings)
    seconds = None if ask.output_expires_after is None else ask.output_expires_after.seconds
    batch = await desk.create(
        owner_of(request), ask.input_file_id, ask.endpoint, ask.completion_window, ask.metadata, seconds
    )
    return answer.json(batch.shown())


async def list_batches(request: Request) -> Response:
    """The batches, the youngest first."""
    desk = desk_of(state_of(request))
    ask = fields_as(dict(request.query_params), BatchesQuery)
    found = await desk.batches(owner_of(request), ask.limit + 1, ask.after)
    return page([batch.shown() for batch in found], ask.limit)


async def get_batch(request: Request) -> Response:
    """How far a batch is."""
    batch = await desk_of(state_of(request)).batch(owner_of(request), request.path_params["id"])
    return answer.json(batch.shown())


async def cancel_batch(request: Request) -> Response:
    """Cancel a batch; what was answered is kept."""
    batch = await desk_of(state_of(request)).cancel(owner_of(request), request.path_params["id"])
    return answer.json(batch.shown())
