"""The playground: a page that shows in a browser what the models can do. Files of a folder, kept in memory.

    GET /playground/              index.html
    GET /playground/<path>        scripts and styles

Files keep their names when they change, so browsers ask for each again, and get 304 where its ETag is still the same.
"""

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from service.errors import MethodNotAllowed, NotFound

FOLDER = Path(__file__).parent.parent / "playground"
PATH = "/playground"
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""Content-Security-Policy: nothing from other hosts, nothing inline."""
_HEADERS = {
    "cache-control": "no-cache",
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "vary": "accept-encoding",
}


@dataclass(frozen=True)
class _File:
    """A file as it is answered, plain and compressed."""

    media_type: str
    plain: bytes
    small: bytes
    digest: str


class Playground:
    """An ASGI application, to be mounted at PATH."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._files = {
            path.relative_to(folder).as_posix(): _read(path)
            for path in sorted(folder.rglob("*"))
            if path.suffix in MEDIA_TYPES
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = self._answer(Request(scope))
        await response(scope, receive, send)

    def _answer(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed(f"the playground does not answer {request.method}", allow=("GET", "HEAD"))
        name = request.url.path.partition(PATH + "/")[2] or "index.html"
        file = self._files.get(name)
        if file is None:
            raise NotFound(f"the playground has no file {name[:200]!r}; it begins at {PATH}/")
        compressed = "gzip" in request.headers.get("accept-encoding", "")
        etag = f'"{file.digest}{"-gzip" if compressed else ""}"'
        headers = {**_HEADERS, "etag": etag}
        if etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if compressed:
            headers["content-encoding"] = "gzip"
        return Response(file.small if compressed else file.plain, 200, headers, file.media_type)


async def enter(request: Request) -> Response:
    """Leads to the playground; relative, so that it works behind a proxy's prefix too."""
    return RedirectResponse(PATH.lstrip("/") + "/")


def _read(path: Path) -> _File:
    plain = path.read_bytes()
    digest = hashlib.sha256(plain).hexdigest()[:20]
    return _File(MEDIA_TYPES[path.suffix], plain, gzip.compress(plain, mtime=0), digest)
