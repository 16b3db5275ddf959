"""What a request keeps while it waits: the numbers that it is to compute with, and not what they were read from."""

import asyncio
import gc
from collections.abc import Callable

import pytest

from tests.service.api.client import Api, Conversation
from tests.toys.directories import normal_images


def rows_of_numbers() -> int:
    """Lists of numbers that Python holds."""
    return sum(type(one) is list and len(one) == 8 and type(one[0]) is float for one in gc.get_objects())


@pytest.mark.parametrize("path", ["/v1/score", "/v1/embeddings"])
def test_numbers_are_not_kept_as_objects(make_api: Callable[..., Api], path: str) -> None:
    api = make_api()
    body = {"inputs": normal_images(20, seed=0).tolist()}
    before = rows_of_numbers()
    api.gate.close()

    async def talk(conversation: Conversation) -> int:
        await asyncio.to_thread(api.gate.reached.wait, 10)
        meanwhile = rows_of_numbers()
        api.gate.open()
        assert (await conversation.outbox.get())["status"] == 200
        return meanwhile

    assert before >= 20 * 8
    assert api.converse(talk, "POST", path, body) == before
