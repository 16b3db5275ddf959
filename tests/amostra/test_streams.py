"""Streams: pieces as they come, and what closing them, losing them and failing in them does."""

import asyncio
import json

import httpx
import pytest

from amostra import AsyncClient, Choice, Client, Failed, TimedOut, Unreachable, calls
from amostra.events import Reader
from tests.amostra.conftest import Live
from tests.eventually import eventually
from tests.toys.directories import WRITER

LONG = {"max_tokens": 500, "seed": 1, "n": 4}


def piece(text: str) -> bytes:
    choice = {"index": 0, "text": text, "finish_reason": None, "logprobs": None}
    return b"data: " + json.dumps({"choices": [choice]}, ensure_ascii=False).encode() + b"\n\n"


def tokens(live: Live) -> float:
    return live.api.metrics.registry.get_sample_value("amostra_tokens_generated_total", {"model": WRITER}) or 0.0


def until_idle(live: Live) -> None:
    eventually(lambda: not live.api.engine.live)


def test_leaving_a_stream_ends_the_work(live: Live, client: Client) -> None:
    before = tokens(live)
    with client.complete_stream("To be", **LONG) as stream:
        assert next(stream).text
    until_idle(live)
    assert tokens(live) - before < 4 * 500
    with pytest.raises(StopIteration):
        next(stream)


def test_leaving_an_asynchronous_stream_ends_the_work(live: Live) -> None:
    async def talk() -> None:
        async with AsyncClient(live.url) as client:
            async with client.complete_stream("To be", **LONG) as stream:
                async for _ in stream:
                    break
            await asyncio.to_thread(until_idle, live)

    before = tokens(live)
    asyncio.run(talk())
    assert tokens(live) - before < 4 * 500


def test_cancelling_a_task_ends_the_work(live: Live) -> None:
    async def talk() -> None:
        async with AsyncClient(live.url) as client:

            async def read() -> None:
                async with client.complete_stream("To be", **LONG) as stream:
                    async for _ in stream:
                        started.set()

            started = asyncio.Event()
            task = asyncio.create_task(read())
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(until_idle, live)

    before = tokens(live)
    asyncio.run(talk())
    assert tokens(live) - before < 4 * 500


def test_a_deadline_within_a_stream(live: Live) -> None:
    live.api.gate.close()
    try:
        with Client(live.url, timeout=0.2, retries=0) as client, pytest.raises(TimedOut):
            list(client.complete_stream("To be"))
    finally:
        live.api.gate.open()


def test_a_stream_that_is_never_read_asks_for_nothing(client: Client) -> None:
    client.complete_stream("To be").close()


class Breaking(httpx.SyncByteStream):
    def __iter__(self):  # type: ignore[no-untyped-def]
        yield piece("a")
        raise httpx.ReadError("reset")


def test_a_stream_that_breaks_off_is_an_error() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=Breaking()))
    stream = Client("http://amostra", transport=transport).complete_stream("a")
    assert next(stream).text == "a"
    with pytest.raises(Unreachable, match="reset"):
        next(stream)


def read(blob: bytes, size: int) -> list[str]:
    """The texts of a stream that comes in chunks of so many bytes."""
    reader: Reader[Choice] = Reader(calls.complete_stream("").parse, "http://amostra")
    return [one.text for at in range(0, len(blob), size) for one in reader.feed(blob[at : at + size])]


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_chunks_may_be_cut_anywhere(size: int) -> None:
    """What Python takes for ends of lines, and characters of several bytes, are no ends of events."""
    texts = ["a\u2028b", "\x85", "ü€😀", "\n\n", "data: [DONE]"]
    blob = b": a comment\n\n" + b"".join(map(piece, texts)) + b"data: [DONE]\n\n"
    assert read(blob, size) == texts
    assert read(blob.replace(b"\n\n", b"\r\n\r\n"), size) == texts


def test_an_error_within_a_stream_is_raised() -> None:
    problem = {
        "status": 500,
        "detail": "a graph failed",
        "instance": "urn:amostra:request:abc",
        "error": {"code": "model_failed"},
    }
    with pytest.raises(Failed, match="a graph failed") as raised:
        read(piece("a") + b"event: error\ndata: " + json.dumps(problem).encode() + b"\n\n", 100)
    assert (raised.value.request_id, raised.value.code) == ("abc", "model_failed")
    for blob in (b"data: {}\n\n", b"data: oops\n\n", b"data: 1\n\n"):
        with pytest.raises(Failed, match="cannot be read"):
            read(blob, 100)
