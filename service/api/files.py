"""Routes of files, in OpenAI's shape: the input, output and errors of batches."""

from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from service.api import answer
from service.api.parsing import fields_as
from service.api.state import State, state_of
from service.api.upload import receive
from service.batches.desk import Desk
from service.batches.schemas import FileFields, FilesQuery
from service.errors import Invalid, NotFound

CONTENT = "application/octet-stream"


def desk_of(state: State) -> Desk:
    """Where files and batches are kept. Raises NotFound where they are off."""
    if state.desk is None:
        raise NotFound("files and batches are off here: the service's operator can set AMOSTRA_BATCH_DIR")
    return state.desk


def owner_of(request: Request) -> str:
    """Who sees what the request makes: the API key's id, or everybody where there are no keys."""
    return request.scope.get("amostra.key", "")


def page(items: list[dict[str, Any]], limit: int) -> Response:
    """One page of a list, of which one item more than the limit was looked up."""
    shown = items[:limit]
    ends = {"first_id": shown[0]["id"], "last_id": shown[-1]["id"]} if shown else {"first_id": None, "last_id": None}
    return answer.json({"object": "list", "data": shown, **ends, "has_more": len(items) > limit})


async def upload_file(request: Request) -> Response:
    """Upload a file of requests for a batch."""
    desk = desk_of(state_of(request))
    async with desk.uploads.begin(owner_of(request)) as upload:
        form = await receive(request, upload)
        if form.filename is None:
            raise Invalid("file: expected a file, found none", field="file")
        fields = fields_as(form.fields, FileFields)
        seconds = desk.keep_seconds if fields.seconds is None else fields.seconds
        file = await upload.keep(form.filename[:256] or "file", seconds)
    return answer.json(file.shown())


async def list_files(request: Request) -> Response:
    """The files, by age."""
    desk = desk_of(state_of(request))
    ask = fields_as(dict(request.query_params), FilesQuery)
    found = await desk.files(owner_of(request), ask.limit + 1, ask.after, ask.order, ask.purpose)
    return page([file.shown() for file in found], ask.limit)


async def get_file(request: Request) -> Response:
    """One file: its name, size and age."""
    desk = desk_of(state_of(request))
    file = await desk.file(owner_of(request), request.path_params["id"])
    return answer.json(file.shown())


async def get_content(request: Request) -> Response:
    """What is in a file."""
    desk = desk_of(state_of(request))
    file = await desk.file(owner_of(request), request.path_params["id"])
    return FileResponse(desk.content(file), media_type=CONTENT, content_disposition_type="attachment", filename=file.id)


async def delete_file(request: Request) -> Response:
    """Delete a file."""
    desk = desk_of(state_of(request))
    file_id = request.path_params["id"]
    await desk.delete(owner_of(request), file_id)
    return answer.json({"id": file_id, "object": "file", "deleted": True})
