"""Images as a stream: previews on the way, and at the end the very images of an answer that is no stream."""

from typing import Any

import httpx
import numpy as np
import openai
import orjson
import pytest

from tests.service.api.client import Api, read_png, unb64
from tests.toys.directories import DIFFUSION, GENERATOR, PIXELS

GENERATE = "/v1/images/generations"
PARTIAL, COMPLETED = "image_generation.partial_image", "image_generation.completed"


def named_events(answer: httpx.Response) -> list[tuple[str, dict[str, Any]]]:
    """Name and content of each event of a whole stream."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in answer.text.strip().split("\n\n"):
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), orjson.loads(data.removeprefix("data: "))))
    return found


@pytest.mark.parametrize(
    ("model", "partial_images", "previews"),
    [(DIFFUSION, 0, 0), (DIFFUSION, 3, 3), (DIFFUSION, 8, 5), (DIFFUSION, None, 0), (GENERATOR, 4, 0), (PIXELS, 2, 0)],
)
def test_previews_come_first_and_then_the_images(
    api: Api, model: str, partial_images: int | None, previews: int
) -> None:
    ask = {"model": model, "n": 2, "seed": 5}
    wish = {} if partial_images is None else {"partial_images": partial_images}
    events = named_events(api.post(GENERATE, json={**ask, "stream": True, **wish}))
    assert [name for name, _ in events] == [PARTIAL] * (2 * previews) + [COMPLETED] * 2
    assert all(name == event["type"] for name, event in events)
    places = [(event["partial_image_index"], event["index"]) for name, event in events if name == PARTIAL]
    assert places == [(place, i) for place in range(previews) for i in range(2)]
    whole = api.post(GENERATE, json=ask).json()
    images = [event for name, event in events if name == COMPLETED]
    assert [event["b64_json"] for event in images] == [item["b64_json"] for item in whole["data"]]
    for event, item in zip(images, whole["data"], strict=True):
        assert {name: event[name] for name in item} == item
    for _, event in events:
        assert (event["model"], event["seed"], event["size"], event["output_format"]) == (model, 5, "8x8", "png")
        assert isinstance(event["created_at"], int)
        assert read_png(unb64(event["b64_json"])).shape == (8, 8)


def test_previews_come_nearer_to_the_image(api: Api) -> None:
    ask = {"model": DIFFUSION, "label": 4, "steps": 20, "stream": True, "partial_images": 5, "guidance": 1}
    images = [
        read_png(unb64(event["b64_json"])).astype(float) for _, event in named_events(api.post(GENERATE, json=ask))
    ]
    distances = [float(np.abs(image - images[-1]).mean()) for image in images]
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 0


def test_seeds_are_said_in_every_event(api: Api) -> None:
    ask = {"model": DIFFUSION, "n": 3, "seeds": [1, 2], "stream": True, "partial_images": 1}
    for _, event in named_events(api.post(GENERATE, json=ask)):
        assert event["seeds"] == [1, 2]
        assert "seed" not in event


def test_openai_s_client_asks_for_it_and_reads_it(api: Api) -> None:
    def pass_on(request: httpx.Request) -> httpx.Response:
        answer = api.post(request.url.path, content=request.content, headers={"content-type": "application/json"})
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    transport = httpx.MockTransport(pass_on)
    client = openai.OpenAI(base_url="http://amostra/v1", api_key="none", http_client=httpx.Client(transport=transport))
    # As people write it for OpenAI's own models, with what asks for nothing here.
    wish = {"quality": "auto", "background": "opaque", "output_format": "png", "moderation": "low", "size": "auto"}
    seed = {"seed": 5}
    events = list(
        client.images.generate(model=DIFFUSION, prompt="7", stream=True, partial_images=2, extra_body=seed, **wish)
    )
    assert [event.type for event in events] == [PARTIAL, PARTIAL, COMPLETED]
    assert [getattr(event, "partial_image_index", None) for event in events] == [0, 1, None]
    assert events[-1].usage.total_tokens == 0
    whole = client.images.generate(model=DIFFUSION, prompt="7", extra_body=seed)
    assert events[-1].b64_json == whole.data[0].b64_json
    for other in ({"quality": "high"}, {"background": "transparent"}, {"output_format": "webp"}):
        with pytest.raises(openai.UnprocessableEntityError, match=next(iter(other))):
            client.images.generate(model=DIFFUSION, prompt="7", stream=True, **other)
