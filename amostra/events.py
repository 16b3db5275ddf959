"""Server-sent events: cut out of the bytes as they come, and read."""

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from amostra import answers, errors, pictures
from amostra.answers import Choice, Preview

T = TypeVar("T")
Content = Mapping[str, Any]
"""The JSON object of one event."""
_DONE = b"[DONE]"


class Reader(Generic[T]):
    """Takes bytes and gives what their events mean. It does no input and output."""

    def __init__(self, parse: Callable[[Content], T], url: str) -> None:
        self._parse = parse
        self._url = url
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterator[T]:
        """Raises AmostraError where an event says that the request failed.

        Lines end in line feeds only: JSON may hold other things that Python would take for the end of a line.
        """
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data:") and (data := line[5:].strip()) != _DONE:
                yield self._read(data)

    def _read(self, data: bytes) -> T:
        try:
            content = json.loads(data)
            if "error" not in content:
                return self._parse(content)
        except (ValueError, LookupError, TypeError) as error:
            raise errors.unexpected(error, self._url) from error
        raise errors.from_problem(content)


def choice_of(content: Content) -> Choice:
    """A piece of a completion."""
    return answers.choice_of(content["choices"][0])


def preview_of(content: Content) -> Preview:
    """An image on its way, or finished."""
    return Preview(
        pictures.decode(base64.b64decode(content["b64_json"])),
        content["index"],
        content.get("partial_image_index"),
        content["model"],
        content.get("seed"),
    )
