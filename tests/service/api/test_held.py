"""The bytes that requests hold are bounded together: bodies that come slowly, and arrays that wait."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
import numpy as np
import pytest

from service.api.held import Held, Hold
from service.errors import ClientGone, Overloaded, TooLarge
from tests.service.api.client import Api, Conversation, npy, png
from tests.service.api.test_errors import assert_envelope
from tests.toys.directories import DENOISER, DENSITY, EMBEDDER, TABLE

MEBIBYTE = 2**20
DENOISE, GENERATE, COMPLETE = f"/v1/images/denoise?model={DENOISER}", "/v1/images/generations", "/v1/completions"
NPY = {"content-type": "application/x-npy"}


class TestHold:
    def test_together_they_hold_what_each_of_them_holds(self) -> None:
        held = Held(100)
        one, other = Hold(held), Hold(held)
        one.grow(60)
        other.grow(30)
        with pytest.raises(Overloaded, match="hold 90 bytes, 11 more would be over the 100"):
            other.grow(11)
        other.grow(10)
        assert held.bytes == 100
        one.keep(5)
        other.grow(20)
        one.release()
        assert held.bytes == 60
        other.release()
        other.release()
        assert held.bytes == 0

    def test_what_would_never_fit_is_not_to_be_sent_again(self) -> None:
        hold = Hold(Held(100))
        hold.grow(60)
        with pytest.raises(TooLarge, match="101 bytes in memory, the limit for all requests together is 100"):
            hold.grow(41)
        with pytest.raises(TooLarge):
            hold.check(41)

    def test_a_thread_that_is_still_at_it_when_the_request_is_over_holds_nothing(self) -> None:
        held = Held(100)
        hold = Hold(held)
        hold.release()
        with pytest.raises(ClientGone):
            hold.grow(1)
        assert held.bytes == 0

    def test_threads_lose_nothing_and_never_hold_more(self) -> None:
        held = Held(1000)
        seen: list[int] = []

        def work(seed: int) -> None:
            sizes = np.random.default_rng(seed).integers(1, 400, 500).tolist()
            for size in sizes:
                hold = Hold(held)
                with suppress(Overloaded):
                    hold.grow(size)
                    hold.grow(size // 2)
                    seen.append(held.bytes)
                hold.release()

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 0 < max(seen) <= 1000
        assert held.bytes == 0


@pytest.fixture
def api(make_api: Callable[..., Api]) -> Api:
    """May hold one mebibyte."""
    return make_api(requests_mb=1)


def held(api: Api) -> int:
    return api.app.state.service.held.bytes


class Upload:
    """A client that sends a body in pieces."""

    def __init__(self, api: Api, path: str, length: int | None = None) -> None:
        self.conversation = Conversation()
        headers = [(b"content-type", b"application/json")]
        headers += [(b"content-length", str(length).encode())] if length is not None else []
        scope = self.conversation.scope("POST", path, headers)
        self.task = asyncio.create_task(api.app(scope, self.conversation.inbox.get, self.conversation.send))  # type: ignore[arg-type]

    async def send(self, body: bytes, *, more: bool = True) -> None:
        await self.conversation.inbox.put({"type": "http.request", "body": body, "more_body": more})
        for _ in range(5):
            await asyncio.sleep(0)

    async def answer(self) -> tuple[int, dict[bytes, bytes], bytes]:
        """Status, headers and body; exactly one answer."""
        await asyncio.wait_for(self.task, 10)
        start = self.conversation.outbox.get_nowait()
        body = b""
        while not self.conversation.outbox.empty():
            message = self.conversation.outbox.get_nowait()
            assert message["type"] == "http.response.body"
            body += message["body"]
        return start["status"], dict(start["headers"]), body


def test_bodies_that_come_slowly_count_from_their_first_bytes(api: Api) -> None:
    """Six uploads of 190 kB are more than a mebibyte: the one whose bytes go over it is refused, and the others go on."""

    async def talk() -> None:
        uploads = [Upload(api, GENERATE) for _ in range(6)]
        for upload in uploads[:5]:
            await upload.send(b'{"n": 1')
            await upload.send(b" " * 190_000)
        assert held(api) == 5 * 190_007
        shown = (await api.send("GET", "/metrics")).text
        assert f"amostra_request_bytes {float(held(api))}" in shown
        await uploads[5].send(b'{"n": 1' + b" " * 190_000)
        status, headers, body = await uploads[5].answer()
        assert status == 429
        assert int(headers[b"retry-after"]) >= 1
        assert b"AMOSTRA_REQUESTS_MB" in body
        assert held(api) == 5 * 190_007
        for upload in uploads[:5]:
            await upload.send(b"}", more=False)
            assert (await upload.answer())[0] == 200
        assert held(api) == 0

    api.run(talk())


def test_a_body_that_is_announced_is_refused_before_it_is_read_but_holds_nothing(api: Api) -> None:
    async def talk() -> None:
        idle = [Upload(api, GENERATE, length=200_000) for _ in range(20)]
        await asyncio.sleep(0)
        assert held(api) == 0, "heads without bodies keep nobody out"
        for upload in idle[:5]:
            await upload.send(b" " * 199_000)
        late = Upload(api, GENERATE, length=150_000)
        assert (await late.answer())[0] == 429, "nothing of its body was asked for"
        small = Upload(api, GENERATE, length=2)
        await small.send(b"{}", more=False)
        assert (await small.answer())[0] == 200
        for upload in idle:
            await upload.conversation.inbox.put({"type": "http.disconnect"})
        await asyncio.wait([upload.task for upload in idle])
        assert held(api) == 0

    api.run(talk())


def pictures(count: int) -> dict[str, Any]:
    """A form of pictures of 64 × 64, which are small as files: 16 kB each as arrays."""
    return {"files": [("image", ("x.png", png(np.zeros((1, 64, 64), np.float32)), "image/png"))] * count}


def test_arrays_that_wait_count_as_what_they_take(api: Api) -> None:
    api.gate.close()

    async def talk() -> list[httpx.Response]:
        first = asyncio.create_task(api.send("POST", DENOISE, **pictures(40)))
        await asyncio.to_thread(api.gate.reached.wait, 10)
        assert held(api) == 40 * 64 * 64 * 4, "the files are not kept"
        refused = await api.send("POST", DENOISE, **pictures(40))
        assert held(api) == 40 * 64 * 64 * 4
        second = asyncio.create_task(api.send("POST", DENOISE, **pictures(10)))
        api.gate.open()
        return [refused, await first, await second]

    refused, *served = api.run(talk())
    assert "AMOSTRA_REQUESTS_MB" in assert_envelope(refused, 429)
    assert [answer.status_code for answer in served] == [200, 200]
    assert held(api) == 0


def test_pictures_that_unpack_to_more_than_all_may_hold_are_refused(make_api: Callable[..., Api]) -> None:
    api = make_api(requests_mb=1, max_images=200)
    answer = api.post(DENOISE, **pictures(100))
    assert "AMOSTRA_REQUESTS_MB" in assert_envelope(answer, 413)
    assert held(api) == 0


IMAGES = npy(np.zeros((20, 8, 8), np.float32))
TEXT, STREAM = b'{"prompt": "To be", "max_tokens": 100}', b'{"prompt": "To be", "max_tokens": 100, "stream": true}'
WAITING: dict[str, tuple[str, dict[str, Any], int]] = {
    "images": (f"/v1/images/restore?model={DENOISER}", {"content": IMAGES, "headers": NPY}, 20 * 64 * 4),
    "scores": (f"/v1/score?model={DENSITY}", {"content": IMAGES, "headers": NPY}, 20 * 64 * 4),
    "embeddings": (f"/v1/embeddings?model={EMBEDDER}", {"content": IMAGES, "headers": NPY}, 20 * 64 * 4),
    "a graph": (
        f"/v2/models/{TABLE}/infer",
        {"json": {"inputs": [{"name": "x", "datatype": "FP32", "shape": [50, 3], "data": [0.5] * 150}]}},
        50 * 3 * 4,
    ),
    "text": (COMPLETE, {"content": TEXT}, len(TEXT)),
    "a stream": (COMPLETE, {"content": STREAM}, len(STREAM)),
}


@pytest.mark.parametrize("case", WAITING)
def test_a_request_that_waits_holds_its_arrays_and_then_nothing(api: Api, case: str) -> None:
    path, request, size = WAITING[case]
    api.gate.close()

    async def talk(*, leaves: bool) -> None:
        task = asyncio.create_task(api.send("POST", path, **request))
        await asyncio.to_thread(api.gate.reached.wait, 10)
        assert held(api) == size
        if leaves:
            task.cancel()
            await asyncio.wait([task])
            assert held(api) == 0
        api.gate.open()
        if not leaves:
            assert (await task).status_code == 200
        assert held(api) == 0
        await api.idle()

    api.run(talk(leaves=False))
    api.gate.close()
    api.run(talk(leaves=True))


@pytest.mark.parametrize(
    ("path", "request_of", "status"),
    [
        (GENERATE, {"content": b"{", "headers": {"content-type": "application/json"}}, 400),
        (GENERATE, {"json": {"n": 0}}, 422),
        (GENERATE, {"json": {"model": "none"}}, 404),
        (GENERATE, {"content": b" " * 200_001}, 413),
        (DENOISE, {"content": b"x" * 1000, "headers": NPY}, 400),
        (DENOISE, {"content": npy(np.zeros(7)), "headers": NPY}, 422),
        (DENOISE, pictures(41), 400),
        ("/v2/models/none/infer", {"json": {"inputs": []}}, 404),
    ],
)
def test_one_that_is_refused_holds_nothing(api: Api, path: str, request_of: dict[str, Any], status: int) -> None:
    assert api.post(path, **request_of).status_code == status
    assert held(api) == 0


def test_one_that_is_too_late_holds_nothing(make_api: Callable[..., Api]) -> None:
    api = make_api(request_timeout_seconds=0.1)
    api.gate.close()
    assert api.post(DENOISE, content=IMAGES, headers=NPY).status_code == 504
    assert held(api) == 0
    api.gate.open()
