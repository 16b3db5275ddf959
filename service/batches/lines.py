"""The requests of an input file, one JSON object a line:

{"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {"prompt": "ROMEO:"}}
"""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.batches.schemas import BATCHED

_MOST_ERRORS = 100
_FRAME = 4096
"""Bytes that a line may have beside its body."""


class Line(BaseModel):
    """One request."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    custom_id: Annotated[str, Field(min_length=1, max_length=512)]
    method: Literal["POST"]
    url: str
    body: dict[str, Any]

    def content(self, batch_id: str) -> bytes:
        """The body as it is sent. Where it names no seed but might, the seed follows from the batch and the custom_id: a line
        that is asked for twice, because the process ended before its answer was kept, gets the same answer."""
        body = self.body
        takes_seed = "seed" in BATCHED[self.url].model_fields and body.get("seeds") is None
        if takes_seed and body.get("seed") is None:
            digest = hashlib.sha256(f"{batch_id}\n{self.custom_id}".encode()).digest()
            body = {**body, "seed": int.from_bytes(digest[:4], "big") >> 1}
        return orjson.dumps(body)


class BadLines(ValueError):
    """A file that cannot be worked on: `errors` as OpenAI lists them, with the number of the line from 1."""

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__(errors[0]["message"])
        self.errors = errors


class Halted(Exception):
    """There is no time to read on."""


def check(path: Path, endpoint: str, most_lines: int, most_bytes: int, halted: Callable[[], bool]) -> int:
    """Read a file from its beginning to its end. Returns how many requests it has.

    `most_bytes` bounds the body of a line; `halted` is asked now and then. Raises BadLines, with all that is wrong up to a
    bound, or Halted.
    """
    errors: list[dict[str, Any]] = []
    seen: set[bytes] = set()
    for number, blob in _numbered(path, most_bytes):
        if halted():
            raise Halted
        found = _look(blob, endpoint, most_bytes)
        if isinstance(found, Line):
            digest = hashlib.sha256(found.custom_id.encode("utf-8", "surrogatepass")).digest()
            if digest in seen:
                message = f"custom_id: {found.custom_id!r:.80} stands in a line before: every line needs its own"
                found = _error("duplicate_custom_id", message, "custom_id")
            seen.add(digest)
        if not isinstance(found, Line):
            errors.append({**found, "line": number})
        if len(seen) > most_lines:
            message = f"more than {most_lines} requests: send several files, or raise AMOSTRA_BATCH_LINES"
            errors.append(_error("too_many_requests", message, None) | {"line": number})
        if len(errors) >= _MOST_ERRORS or len(seen) > most_lines:
            break
    if not seen and not errors:
        errors.append(_error("empty_file", "the file has no requests: expected a JSON object on each line", None))
    if errors:
        raise BadLines(errors)
    return len(seen)


def read(path: Path, most_bytes: int) -> Iterator[tuple[int, Line]]:
    """The requests of a file that was checked, with the numbers of their lines."""
    for number, blob in _numbered(path, most_bytes):
        yield number, Line.model_validate(orjson.loads(blob))


def _numbered(path: Path, most_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, from 1; of one that is too long, a part that is too long as well."""
    with path.open("rb") as file:
        number = 0
        while blob := file.readline(most_bytes + _FRAME + 1):
            number += 1
            if blob.strip():
                yield number, blob
            if len(blob) > most_bytes + _FRAME:
                return


def _look(blob: bytes, endpoint: str, most_bytes: int) -> Line | dict[str, Any]:
    if len(blob) > most_bytes + _FRAME:
        message = f"a line of more than {most_bytes} bytes: send less at once, or raise AMOSTRA_MAX_BODY_BYTES"
        return _error("request_too_large", message, None)
    try:
        line = Line.model_validate(orjson.loads(blob))
        orjson.dumps(line.body)
    except orjson.JSONDecodeError as error:
        return _error("invalid_json_line", f"expected a JSON object, found {error.msg}", None)
    except orjson.JSONEncodeError as error:  # nested deeper than it writes
        return _error("invalid_request", f"body: {error}", "body")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        param = ".".join(map(str, first["loc"])) or None
        if first["type"] == "missing":
            return _error("missing_required_parameter", f"{param}: expected a value, found none", param)
        message = f"{param or 'line'}: {first['msg']}, found {first['input']!r:.80}"
        return _error("invalid_request", message, param)
    if line.url != endpoint:
        return _error("invalid_url", f"url: expected the batch's endpoint {endpoint}, found {line.url!r:.80}", "url")
    return line


def _error(code: str, message: str, param: str | None) -> dict[str, Any]:
    return {"code": code, "message": message, "param": param, "line": None}
