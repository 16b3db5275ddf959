"""JSON, base64, and the fields of forms and queries, as what a schema says, or refused with what was expected and found."""

import base64
import binascii
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from service.codecs import numbers
from service.errors import BadRequest, Invalid
from service.schemas import ItemsBody

T = TypeVar("T", bound=BaseModel)

_MUCH_OF_NUMBERS = 2**20
_MUCH_ROWS = 8192
_BASE64_PIECE = 2**20


def parse_json(blob: bytes, schema: type[T]) -> T:
    """Parse and check JSON. Many numbers in the field `inputs` come as an array.

    Raises BadRequest for what is no JSON, Invalid for what is not allowed.
    """
    try:
        if len(blob) > _MUCH_OF_NUMBERS and issubclass(schema, ItemsBody):
            found = numbers.cut_out(blob, "inputs")
            if found is not None:
                body = schema.model_validate_json(found[0], strict=True)
                if body.inputs is None:
                    return body.model_copy(update={"inputs": found[1]})
        if len(blob) > _MUCH_ROWS and issubclass(schema, ItemsBody) and b'"inputs"' in blob:
            apart = _without_inputs(blob)
            if apart is not None:
                rest, inputs = apart
                return schema.model_validate_json(rest, strict=True).model_copy(update={"inputs": inputs})
        return schema.model_validate_json(blob, strict=True)
    except ValidationError as error:
        raise refusal(error) from error


def _without_inputs(blob: bytes) -> tuple[bytes, Any] | None:
    """A JSON object without its field `inputs`, and what that field holds, in half of pydantic's time; None for what is to
    be looked at as a whole."""
    try:
        content = orjson.loads(blob)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(content, dict) or content.get("inputs") is None:
        return None
    inputs = content.pop("inputs")
    return orjson.dumps(content), inputs


def refusal(error: ValidationError) -> BadRequest | Invalid:
    """The first of pydantic's complaints as ours: field, what was expected, what was found."""
    first = error.errors(include_url=False)[0]
    if first["type"] == "json_invalid":
        return BadRequest(f"body: expected JSON, found {first['ctx']['error']}")
    path = [
        str(part) for part in first["loc"] if not str(part).startswith(("function-", "constrained-", "list[", "union"))
    ]
    if len(path) > 1 and path[-1] in ("str", "int", "float", "bool"):
        path = path[:-1]
    field = ".".join(path) or "body"
    if first["type"] == "extra_forbidden":
        return Invalid(f"{field}: there is no such field: leave it out", field=field)
    if first["type"] == "missing":
        return Invalid(f"{field}: expected a value, found none", field=field)
    return Invalid(f"{field}: {first['msg'].removeprefix('Value error, ')}, found {first['input']!r:.80}", field=field)


def fields_as(fields: dict[str, Any], schema: type[T]) -> T:
    """Form and query fields as `schema`. Raises Invalid."""
    try:
        return schema.model_validate(fields)
    except ValidationError as error:
        raise refusal(error) from error


def from_base64(text: str, field: str) -> bytes:
    """What a text in base64 stands for; what comes before it in a data URL is left out. Raises BadRequest."""
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        # In pieces, so that other threads get their turn; only the last may end in padding.
        pieces = [text[at : at + _BASE64_PIECE] for at in range(0, len(text), _BASE64_PIECE)]
        if any(piece.endswith("=") for piece in pieces[:-1]):
            raise ValueError("padding in the middle")
        return b"".join(base64.b64decode(piece, validate=True) for piece in pieces)
    except (binascii.Error, ValueError) as error:
        raise BadRequest(f"{field}: expected base64, found {text[:20]!r}", field=field) from error
