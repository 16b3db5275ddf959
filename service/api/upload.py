"""A file in a multipart form, handed on piece by piece as it comes in: it is never in memory as a whole."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from service.api.body import MULTIPART, media_type
from service.batches.uploads import Upload
from service.errors import BadRequest, Invalid, TooLarge, UnsupportedMediaType

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_MOST_FIELDS = 16
_FIELD_BYTES = 4096
_HEADER_BYTES = 4096


@dataclass
class Form:
    """The form's fields, and the name of its file; None where none came."""

    fields: dict[str, str] = field(default_factory=dict)
    filename: str | None = None


async def receive(request: Request, upload: Upload) -> Form:
    """Read a form with one file in the field `file`, whose bytes go to `upload`.

    Raises BadRequest, Invalid, UnsupportedMediaType, TooLarge.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if media_type(request) != MULTIPART:
        raise UnsupportedMediaType(f"content-type: expected {MULTIPART}, found {kind.decode('latin-1')!r:.80}")
    if not options.get(b"boundary"):
        raise BadRequest(f"content-type: expected {MULTIPART} with a boundary, found none")
    parts = _Parts()
    parser = MultipartParser(options[b"boundary"], parts.callbacks())
    try:
        async for chunk in request.stream():
            parser.write(chunk)
            if parts.pieces:
                pieces, parts.pieces = b"".join(parts.pieces), []
                await upload.write(pieces)
        parser.finalize()
    except FormParserError as error:
        raise BadRequest(f"body: expected {MULTIPART}, found {error}") from error
    if not parts.ended:
        raise BadRequest(f"body: expected {MULTIPART} with an end, found none: the upload was cut off")
    return parts.form


class _Parts:
    """Takes apart what the parser finds."""

    def __init__(self) -> None:
        self.form = Form()
        self.pieces: list[bytes] = []
        self.ended = False
        self._headers: list[list[bytes]] = []
        self._name = ""
        self._is_file = False

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_header_begin": lambda: self._headers.append([b"", b""]),
            "on_header_field": lambda data, start, end: self._header(0, data[start:end]),
            "on_header_value": lambda data, start, end: self._header(1, data[start:end]),
            "on_headers_finished": self._headers_finished,
            "on_part_data": lambda data, start, end: self._data(data[start:end]),
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._headers = []

    def _header(self, part: int, piece: bytes) -> None:
        self._headers[-1][part] += piece
        if sum(len(a) + len(b) for a, b in self._headers) > _HEADER_BYTES:
            raise TooLarge(f"body: a part has more than {_HEADER_BYTES} bytes of headers: leave some out")

    def _headers_finished(self) -> None:
        disposition = next((value for name, value in self._headers if name.lower() == b"content-disposition"), b"")
        _, options = parse_options_header(disposition)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._is_file = b"filename" in options
        if not self._is_file:
            if len(self.form.fields) >= _MOST_FIELDS:
                raise TooLarge(f"body: more than {_MOST_FIELDS} fields: leave some out")
            self.form.fields[self._name] = ""
            return
        if self._name != "file" or self.form.filename is not None:
            raise Invalid(f"{self._name[:80]}: expected one file in the field file: send it alone", field="file")
        self.form.filename = options[b"filename"].decode("utf-8", "replace")

    def _data(self, piece: bytes) -> None:
        if self._is_file:
            self.pieces.append(piece)
            return
        value = self.form.fields[self._name] + piece.decode("utf-8", "replace")
        if len(value) > _FIELD_BYTES:
            raise TooLarge(f"{self._name[:80]}: more than {_FIELD_BYTES} characters", field=self._name[:80])
        self.form.fields[self._name] = value

    def _end(self) -> None:
        self.ended = True
