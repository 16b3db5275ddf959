"""Request bodies: read within a limit, then taken apart by content type. Nothing is parsed before it is measured."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import numpy as np
from pydantic import BaseModel
from starlette.datastructures import QueryParams
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from contract.manifest import Data
from service.api.aside import aside
from service.api.headers import header
from service.api.held import Hold, hold_of
from service.api.parsing import fields_as, from_base64, parse_json
from service.codecs import npy, picture, table
from service.errors import BadRequest, Invalid, TooLarge, UnsupportedMediaType
from service.settings import Settings
from service.tasks.samples import as_images, check_sides

T = TypeVar("T", bound=BaseModel)

JSON = "application/json"
MULTIPART = "multipart/form-data"
_MAX_FIELDS = 32
_MUCH_JSON = 65_536
_MUCH_OF_NUMBERS = 2**20
_MUCH_TEXT = 4096
_MANY_FILES = 8
_CHUNK = 65_536
_SHORT_QUERY = 256


class File(NamedTuple):
    """An image or a table as it came: its bytes and media type, and how the request calls it."""

    blob: bytes
    media_type: str
    field: str

    @property
    def name(self) -> str:
        """The field without its place: `image` for `image[1]`."""
        return self.field.partition("[")[0]


async def read(request: Request, limit: int) -> bytes:
    """The body. Raises TooLarge as soon as it is known, by Content-Length if there is one, and Overloaded where other
    requests hold too much."""
    declared = header(request, b"content-length", "")
    hold = hold_of(request)
    if declared.isdecimal():
        announced = int(declared)
        if announced > limit:
            raise TooLarge(f"body: {declared} bytes, the limit is {limit}: send less at once")
        hold.check(announced)
    chunks, size = [], 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise TooLarge(f"body: more than {limit} bytes: send less at once")
        hold.grow(len(chunk))
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)


def media_type(request: Request) -> str:
    """The content type without its parameters, in lower case."""
    return header(request, b"content-type", "").partition(";")[0].strip().lower()


async def read_json(request: Request, schema: type[T], settings: Settings) -> T:
    """A JSON body as `schema`. Raises BadRequest, Invalid, UnsupportedMediaType, TooLarge."""
    kind = media_type(request)
    if kind not in (JSON, ""):
        raise UnsupportedMediaType(f"content-type: expected {JSON}, found {kind!r}")
    blob = await read(request, settings.max_body_bytes)
    return await aside(len(blob) > _MUCH_JSON, parse_json, blob, schema)


async def read_files(
    request: Request,
    schema: type[T],
    fields: type[T],
    settings: Settings,
    name: str = "image",
    beside: Sequence[str] = (),
    raw: Sequence[str] = (),
) -> tuple[T, list[File]]:
    """A body that carries images: raw bytes, multipart, or JSON with base64 in the field `name`.

    Returns the JSON body as `schema`, or the query's and the form's fields as `fields`, and the images. In a form and in
    JSON other pictures may come in the fields `beside`. The media types `raw` are taken as raw bytes too.
    """
    kind = media_type(request)
    if kind == JSON:
        if request.scope["query_string"]:
            _refuse_query(request, fields)
        blob = await read(request, settings.max_body_bytes)
        return await aside(len(blob) > _MUCH_JSON, _json_with_files, blob, schema, (name, *beside))
    if kind == MULTIPART:
        form, files = await _multipart(request, settings, name, beside)
        return fields_as({**request.query_params, **form}, fields), files
    if kind in picture.FORMATS or kind == npy.MEDIA_TYPE or kind in raw:
        query = request.scope["query_string"]
        parsed = (_fields_of if len(query) <= _SHORT_QUERY else _fields_of.__wrapped__)(query, fields)
        return parsed, [File(await read(request, settings.max_body_bytes), kind, "body")]
    takes = ", ".join([*picture.FORMATS, npy.MEDIA_TYPE, *raw, MULTIPART, JSON])
    raise UnsupportedMediaType(f"content-type: expected one of {takes}, found {kind[:80]!r}")


@lru_cache(256)
def _fields_of(query: bytes, fields: type[T]) -> T:
    """A query as `fields`: clients ask with the same one again and again. Raises Invalid."""
    return fields_as(dict(QueryParams(query)), fields)


def _refuse_query(request: Request, fields: type[BaseModel]) -> None:
    """What a JSON body says is not said twice."""
    known = {field.alias or name for name, field in fields.model_fields.items()}
    for name in request.query_params:
        if name in known:
            raise Invalid(f"{name}: found in the query of a JSON request: put it into the body", field=name)


async def _multipart(
    request: Request, settings: Settings, name: str, beside: Sequence[str]
) -> tuple[dict[str, Any], list[File]]:
    blob = await read(request, settings.max_body_bytes)

    async def once() -> AsyncGenerator[bytes, None]:
        for at in range(0, len(blob), _CHUNK):
            yield blob[at : at + _CHUNK]
            await asyncio.sleep(0)  # the parser is on the event loop

    parser = MultiPartParser(
        request.headers,
        once(),
        max_files=settings.max_images + len(beside),
        max_fields=_MAX_FIELDS,
        max_part_size=settings.max_body_bytes,
    )
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:
        raise BadRequest(f"body: expected multipart/form-data, found {getattr(error, 'message', error)}") from error
    fields: dict[str, Any] = {}
    files: list[File] = []
    places: Counter[str] = Counter()
    for key, value in form.multi_items():
        if isinstance(value, str):
            fields[key] = value
        elif key.removesuffix("[]") not in (name, *beside):
            raise Invalid(f"{key[:80]}: expected files in the field {name}, found one here", field=name)
        else:
            kind = (value.content_type or "").split(";")[0].strip().lower()
            field = key.removesuffix("[]")
            files.append(File(await value.read(), kind, f"{field}[{places[field]}]"))
            places[field] += 1
    await form.close()
    return fields, files


def _json_with_files(blob: bytes, schema: type[T], names: Sequence[str]) -> tuple[T, list[File]]:
    body = parse_json(blob, schema)
    files = []
    for name in names:
        given = getattr(body, name) or []
        texts = [given] if isinstance(given, str) else list(given)
        files += [File(from_base64(text, f"{name}[{i}]"), "", f"{name}[{i}]") for i, text in enumerate(texts)]
    return body, files


def is_much(request: Request, files: Sequence[File] = ()) -> bool:
    """Whether taking a request's content apart would keep the event loop from the others."""
    if files:
        return len(files) > _MANY_FILES or any(map(_is_much, files))
    length = header(request, b"content-length", "")
    return not length.isdecimal() or int(length) > _MUCH_TEXT


def _is_much(file: File) -> bool:
    if file.blob.startswith(npy.MAGIC):
        return len(file.blob) > _MUCH_OF_NUMBERS
    return not (picture.is_small(file.blob) or table.is_small(file.blob, file.media_type))


def images(files: list[File], data: Data, settings: Settings, hold: Hold | None = None) -> np.ndarray:
    """All images as one batch (N, C, H, W). They must be of one size. What they take is added to what the request holds.

    Raises Invalid, BadRequest or TooLarge, naming the image, and Overloaded.
    """
    if not files:
        raise Invalid("image: expected at least one image, found none", field="image")
    batches = []
    for file in files:
        # The bytes say what they are; a wrong content type of a part is forgiven.
        if file.blob.startswith(npy.MAGIC):
            array = npy.decode(file.blob, settings.max_images * settings.max_pixels, file.field)
            batches.append(as_images(array, data, file.field))
        elif file.media_type == npy.MEDIA_TYPE:
            raise BadRequest(f"{file.field}: expected a .npy array, found {file.blob[:8]!r}", field=file.field)
        else:
            image = picture.decode(file.blob, data.shape[0] or 1, settings.max_pixels, file.field)
            check_sides(image[None], data, file.field)
            batches.append(image[None])
        if hold is not None:
            hold.grow(batches[-1].nbytes)
    if len(batches) > 1 and len(sizes := {b.shape[1:] for b in batches}) > 1:
        raise Invalid(f"image: expected images of one size, found {sorted(sizes)}: send them one by one", field="image")
    count = sum(map(len, batches))
    height, width = batches[0].shape[2:]
    if count > settings.max_images:
        raise TooLarge(f"image: {count} images, the limit is {settings.max_images}: send fewer at once", field="image")
    if height * width > settings.max_pixels:
        raise TooLarge(f"image: {height * width} pixels, the limit is {settings.max_pixels}: send parts", field="image")
    return batches[0] if len(batches) == 1 else np.concatenate(batches)


def mask(file: File, settings: Settings) -> np.ndarray:
    """Where an image is to be drawn anew: (H, W) bool. A picture, or a .npy array in which more than a half says so.

    Raises Invalid, BadRequest or TooLarge.
    """
    if not file.blob.startswith(npy.MAGIC):
        return picture.decode_mask(file.blob, settings.max_pixels, file.name)
    array = npy.decode(file.blob, settings.max_pixels, file.name)
    plane = array.reshape(array.shape[-2:]) if array.size == np.prod(array.shape[-2:]) else array
    if plane.ndim != 2:
        raise Invalid(f"{file.name}: expected an array H × W, found {list(array.shape)}", field=file.name)
    return plane > 0.5
