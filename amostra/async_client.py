"""The client for asyncio."""

import asyncio
import copy
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Generic, ParamSpec, Self, TypeVar, Unpack, overload

import httpx

from amostra import batches as batching
from amostra import calls, errors, exchange
from amostra.call import Call, StreamCall
from amostra.events import Reader
from amostra.exchange import Changes, Exchange, Outcome, Priority, Send, Wait

P = ParamSpec("P")
T = TypeVar("T")


class AsyncStream(Generic[T]):
    """Pieces of an answer as they come. Closing it, or leaving its `async with` block, ends the work on the service."""

    def __init__(self, pieces: AsyncGenerator[T, None]) -> None:
        self._pieces = pieces

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        return await anext(self._pieces)

    async def aclose(self) -> None:
        """Harmless where it has ended."""
        await self._pieces.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class _Method(Generic[P, T]):
    """A call as a method: with its signature and documentation, and its result to be awaited."""

    def __init__(self, build: Callable[P, Call[T]]) -> None:
        self._build = build

    @overload
    def __get__(self, client: None, owner: type) -> Callable[P, Call[T]]: ...
    @overload
    def __get__(self, client: "AsyncClient", owner: type) -> Callable[P, Awaitable[T]]: ...
    def __get__(self, client: "AsyncClient | None", owner: type) -> Callable[P, Call[T]] | Callable[P, Awaitable[T]]:
        if client is None:
            return self._build

        @functools.wraps(self._build)
        async def ask(*args: P.args, **kwargs: P.kwargs) -> T:
            return await client.ask(self._build(*args, **kwargs))

        return ask


class _StreamMethod(Generic[P, T]):
    """A call as a method whose result is a stream."""

    def __init__(self, build: Callable[P, StreamCall[T]]) -> None:
        self._build = build

    @overload
    def __get__(self, client: None, owner: type) -> Callable[P, StreamCall[T]]: ...
    @overload
    def __get__(self, client: "AsyncClient", owner: type) -> Callable[P, AsyncStream[T]]: ...
    def __get__(
        self, client: "AsyncClient | None", owner: type
    ) -> Callable[P, StreamCall[T]] | Callable[P, AsyncStream[T]]:
        if client is None:
            return self._build

        @functools.wraps(self._build)
        def ask(*args: P.args, **kwargs: P.kwargs) -> AsyncStream[T]:
            return client.stream(self._build(*args, **kwargs))

        return ask


class AsyncClient:
    """`Client` for asyncio: the same methods, to be awaited, and streams for `async for`.

    async with AsyncClient("http://127.0.0.1:3000") as client:
        sevens = (await client.generate("7", n=16, seed=1)).images  # (16, 1, 28, 28) float32 in [0, 1]
    """

    models = _Method(calls.models)
    model = _Method(calls.model)
    sheet = _Method(calls.sheet)
    drift = _Method(calls.drift)
    calibration = _Method(calls.calibration)
    generate = _Method(calls.generate)
    generate_stream = _StreamMethod(calls.generate_stream)
    edit = _Method(calls.edit)
    denoise = _Method(calls.denoise)
    restore = _Method(calls.restore)
    sample = _Method(calls.sample)
    score = _Method(calls.score)
    overlay = _Method(calls.overlay)
    embed = _Method(calls.embed)
    complete = _Method(calls.complete)
    complete_stream = _StreamMethod(calls.complete_stream)
    upload = _Method(batching.upload)
    files = _Method(batching.files)
    file = _Method(batching.file)
    content = _Method(batching.content)
    delete_file = _Method(batching.delete_file)
    create_batch = _Method(batching.create_batch)
    batches = _Method(batching.batches)
    batch = _Method(batching.batch)
    cancel_batch = _Method(batching.cancel_batch)

    def __init__(
        self,
        url: str | None = None,
        *,
        key: str | None = None,
        timeout: float | None = 60.0,
        retries: int = 3,
        priority: Priority | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """As of Client."""
        self._terms = exchange.terms_of(url, key, timeout, retries, priority)
        self._http = httpx.AsyncClient(transport=transport)

    def with_options(self, **changes: Unpack[Changes]) -> "AsyncClient":
        """The same client on other terms: the two share their connections."""
        other = copy.copy(self)
        other._terms = replace(self._terms, **changes)
        return other

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def ask(self, call: Call[T]) -> T:
        """Carry out a call. Raises AmostraError."""
        response = await self._carry_out(exchange.attempts(call, self._terms))
        return exchange.read(call.parse, response)

    def stream(self, call: StreamCall[T]) -> AsyncStream[T]:
        """Carry out a call whose answer comes in pieces, from the first time that one is asked for."""
        return AsyncStream(self._pieces(call))

    async def _pieces(self, call: StreamCall[T]) -> AsyncGenerator[T, None]:
        response = await self._carry_out(exchange.attempts(call.call, self._terms, stream=True))
        reader = Reader(call.parse, self._terms.url)
        try:
            async for chunk in response.aiter_bytes():
                for piece in reader.feed(chunk):
                    yield piece
        except httpx.TransportError as error:
            raise errors.from_transport(error, self._terms.url) from error
        finally:
            await response.aclose()

    async def _carry_out(self, steps: Exchange) -> httpx.Response:
        outcome: Outcome = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                response: httpx.Response = end.value
                return response
            outcome = await self._do(step)

    async def _do(self, step: Send | Wait) -> Outcome:
        if isinstance(step, Wait):
            await asyncio.sleep(step.seconds)
            return None
        try:
            response = await self._http.send(step.request, stream=step.stream)
            if not response.is_success:
                await response.aread()
            return response
        except httpx.TransportError as error:
            return error
