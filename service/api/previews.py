"""Images as server-sent events, in OpenAI's shape: previews on the way, and every image at the end.

event: image_generation.partial_image    the estimate of an image after some of its evaluations
event: image_generation.completed        the image, to the bit the one of an answer that is no stream
"""

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from service.api.events import Events, event
from service.api.state import State
from service.api.waiting import Pending
from service.codecs import picture
from service.errors import AmostraError
from service.model import LoadedModel
from service.tasks import generate as generating

PARTIAL, COMPLETED = "image_generation.partial_image", "image_generation.completed"
_USAGE = {
    "input_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    "output_tokens": 0,
    "total_tokens": 0,
}
"""Counted in tokens by OpenAI's own models; its client expects it."""


def stream(
    request: Request,
    state: State,
    model: LoadedModel,
    drawing: generating.Drawing,
    number: int,
    about: dict[str, Any],
    each: list[dict[str, Any]],
) -> Response:
    """Draw, with up to `number` previews of each image. `about` goes into every event, `each` into those of its image."""
    queue: asyncio.Queue = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def preview(place: int, images: np.ndarray) -> None:
        loop.call_soon_threadsafe(queue.put_nowait, (place, images))

    # Made here, so that a full queue is a 429 and not the first event.
    pending = Pending(state, request, model, generating.draw(model, drawing, number, preview))

    async def events() -> AsyncIterator[bytes]:
        try:
            async for place, images in pending.events(queue):
                for part in await asyncio.to_thread(_events, PARTIAL, images, about, each, partial_image_index=place):
                    yield part
            drawn = np.concatenate(pending.ended())
            for part in await asyncio.to_thread(_events, COMPLETED, drawn, about, each, usage=_USAGE):
                yield part
            state.metrics.drew(model.id, "generate", len(drawn))
        except AmostraError as error:
            request.scope["amostra.error"] = error
            yield event(error.body(request.scope["amostra.request_id"]), "error")

    return Events(pending, events())


def _events(
    name: str, images: np.ndarray, about: dict[str, Any], each: list[dict[str, Any]], **more: Any
) -> list[bytes]:
    """One event for each image (n, C, H, W)."""
    height, width = images.shape[2:]
    head = {
        "type": name,
        "created_at": int(time.time()),
        "size": f"{width}x{height}",
        "quality": "auto",
        "background": "opaque",
        "output_format": "png",
        **about,
        **more,
    }
    encoded = (base64.b64encode(picture.encode(image)).decode("ascii") for image in images)
    return [event({**head, **item, "b64_json": text}, name) for text, item in zip(encoded, each, strict=True)]
