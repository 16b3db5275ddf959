"""Answers: the media type that the client accepts, and images in it."""

import base64
import time
from collections.abc import Awaitable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from contract import Manifest
from service.api.aside import aside
from service.api.headers import header
from service.codecs import npy, picture
from service.errors import AmostraError, NotAcceptable

JSON, PNG = "application/json", "image/png"
PROBLEM = "application/problem+json"
WHOLE = "amostra.response.whole"
"""The type of a message that is a whole answer, where the server has it among its extensions of ASGI."""
INFERENCE = "/v2/"
"""Paths of the Open Inference Protocol."""
_BY_FORMAT = {"b64_json": JSON, "png": PNG, "npy": npy.MEDIA_TYPE}
_INLINE_PIXELS = 4096
_MAX_ACCEPT = 1024


def json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, status, headers, JSON)


def listing(about: dict[str, Any], items: Iterable[dict[str, Any]]) -> Response:
    """A JSON answer with a long list as `data`, written item by item: one call for all would hold up other threads."""
    option = orjson.OPT_SERIALIZE_NUMPY
    parts, between = [orjson.dumps(about, option=option)[:-1], b',"data":['], b""
    for item in items:
        parts += (between, orjson.dumps(item, option=option))
        between = b","
    return _Whole(b"".join([*parts, b"]}"]), JSON, {})


def error(raised: AmostraError, path: str, request_id: str) -> Response:
    """An error in its envelope: one of RFC 9457 and OpenAI's, and one of its own in the Open Inference Protocol."""
    if f"{path}/".startswith(INFERENCE):
        return json({"error": raised.detail}, raised.status, raised.headers())
    response = json(raised.body(request_id), raised.status, raised.headers())
    response.headers["content-type"] = PROBLEM
    return response


def choose(request: Request, offers: Sequence[str], response_format: str | None = None) -> str:
    """The media type to answer with: the client's response_format, or the best of its Accept header.

    Raises NotAcceptable.
    """
    if response_format is not None:
        return _BY_FORMAT[response_format]
    accepted = header(request, b"accept", "*/*")
    best = _best(accepted[:_MAX_ACCEPT], tuple(offers))
    if best is None:
        raise NotAcceptable(f"accept: expected one of {', '.join(offers)}, found {accepted[:80]!r}")
    return best


@lru_cache(256)
def _best(accepted: str, offers: tuple[str, ...]) -> str | None:
    """The offer that an Accept header likes best."""
    ranked = []
    for i, part in enumerate(accepted.split(",")):
        name, *parameters = (p.strip().lower() for p in part.split(";"))
        quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        try:
            weight = float(quality)
        except ValueError:
            weight = 0.0
        # A full name goes before a wildcard of the same weight.
        ranked.append((-weight, name.count("*"), i, name))
    for weight, _, _, name in sorted(ranked):
        for offer in offers:
            if weight < 0 and name in ("*/*", offer, offer.split("/")[0] + "/*"):
                return offer
    return None


def numbered(manifest: Manifest, n: int, labels: np.ndarray | None = None) -> list[dict[str, Any]]:
    """What an answer says of each thing that was drawn: its number, and its class where it has one."""
    if labels is None:
        return [{"index": i} for i in range(n)]
    names = manifest.data.class_names
    return [{"index": i, "label": k, "class": names[k]} for i, k in enumerate(labels.tolist())]


def images(kind: str, batch: np.ndarray, about: dict[str, Any], each: Iterable[dict[str, Any]]) -> Awaitable[Response]:
    """Images (N, C, H, W) in [0, 1] as JSON with base64 PNGs, as one PNG (a grid where there are several), or as npy.

    `about` goes into the JSON beside the data, and into headers otherwise; `each` into the JSON's items.
    """
    return aside(batch.size > _INLINE_PIXELS, _images, kind, batch, about, each)


def _images(kind: str, batch: np.ndarray, about: dict[str, Any], each: Iterable[dict[str, Any]]) -> Response:
    if kind == JSON:
        encoded = (base64.b64encode(picture.encode(image)).decode("ascii") for image in batch)
        items = ({"b64_json": text, **item} for text, item in zip(encoded, each, strict=True))
        return listing({"created": int(time.time()), **about}, items)
    if kind == PNG:
        return _Whole(picture.encode(batch[0] if len(batch) == 1 else picture.grid(batch)), kind, about)
    return _Whole(npy.encode(batch), kind, about)


class _Whole(Response):
    """Bytes, with what is said about them in headers, put together and sent here in half of the time."""

    def __init__(self, body: bytes, media_type: str, about: dict[str, Any]) -> None:
        self.status_code, self.background, self.body = 200, None, body
        self.raw_headers = [
            (b"content-length", b"%d" % len(body)),
            (b"content-type", media_type.encode()),
            *[(b"x-amostra-" + name.encode(), str(value).encode("latin-1")) for name, value in about.items()],
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if WHOLE in scope.get("extensions", ()):
            await send({"type": WHOLE, "status": 200, "headers": self.raw_headers, "body": self.body})
            return
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body})
