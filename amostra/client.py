"""The client."""

import copy
import functools
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from types import TracebackType
from typing import Generic, ParamSpec, Self, TypeVar, Unpack, overload

import httpx

from amostra import batches as batching
from amostra import calls, errors, exchange
from amostra.call import Call, StreamCall
from amostra.events import Reader
from amostra.exchange import Changes, Exchange, Outcome, Priority, Send, Wait

P = ParamSpec("P")
T = TypeVar("T")


class Stream(Generic[T]):
    """Pieces of an answer as they come. Closing it, or leaving its `with` block, ends the work on the service."""

    def __init__(self, pieces: Generator[T, None, None]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        return next(self._pieces)

    def close(self) -> None:
        """Harmless where it has ended."""
        self._pieces.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Method(Generic[P, T]):
    """A call as a method: with its signature and documentation, and its result."""

    def __init__(self, build: Callable[P, Call[T]]) -> None:
        self._build = build

    @overload
    def __get__(self, client: None, owner: type) -> Callable[P, Call[T]]: ...
    @overload
    def __get__(self, client: "Client", owner: type) -> Callable[P, T]: ...
    def __get__(self, client: "Client | None", owner: type) -> Callable[P, Call[T]] | Callable[P, T]:
        if client is None:
            return self._build

        @functools.wraps(self._build)
        def ask(*args: P.args, **kwargs: P.kwargs) -> T:
            return client.ask(self._build(*args, **kwargs))

        return ask


class _StreamMethod(Generic[P, T]):
    """A call as a method whose result is a stream."""

    def __init__(self, build: Callable[P, StreamCall[T]]) -> None:
        self._build = build

    @overload
    def __get__(self, client: None, owner: type) -> Callable[P, StreamCall[T]]: ...
    @overload
    def __get__(self, client: "Client", owner: type) -> Callable[P, Stream[T]]: ...
    def __get__(self, client: "Client | None", owner: type) -> Callable[P, StreamCall[T]] | Callable[P, Stream[T]]:
        if client is None:
            return self._build

        @functools.wraps(self._build)
        def ask(*args: P.args, **kwargs: P.kwargs) -> Stream[T]:
            return client.stream(self._build(*args, **kwargs))

        return ask


class Client:
    """Asks a service of Amostra. Its methods are the functions of `amostra.calls` and `amostra.batches`; it may be shared by threads.

    with Client("http://127.0.0.1:3000") as client:
        sevens = client.generate("7", n=16, seed=1).images  # (16, 1, 28, 28) float32 in [0, 1]
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
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`url` and `key` come from AMOSTRA_URL and AMOSTRA_API_KEY where they are left out.

        `timeout` is in seconds for a whole call, retries included; the service is told, and gives up with it. `retries` are
        for 429, 503 and broken connections, after what Retry-After says. `priority` background waits for all others.
        """
        self._terms = exchange.terms_of(url, key, timeout, retries, priority)
        self._http = httpx.Client(transport=transport)

    def with_options(self, **changes: Unpack[Changes]) -> "Client":
        """The same client on other terms (timeout, retries, priority, key): the two share their connections."""
        other = copy.copy(self)
        other._terms = replace(self._terms, **changes)
        return other

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, call: Call[T]) -> T:
        """Carry out a call. Raises AmostraError."""
        response = self._carry_out(exchange.attempts(call, self._terms))
        return exchange.read(call.parse, response)

    def stream(self, call: StreamCall[T]) -> Stream[T]:
        """Carry out a call whose answer comes in pieces, from the first time that one is asked for."""
        return Stream(self._pieces(call))

    def _pieces(self, call: StreamCall[T]) -> Generator[T, None, None]:
        response = self._carry_out(exchange.attempts(call.call, self._terms, stream=True))
        reader = Reader(call.parse, self._terms.url)
        try:
            for chunk in response.iter_bytes():
                yield from reader.feed(chunk)
        except httpx.TransportError as error:
            raise errors.from_transport(error, self._terms.url) from error
        finally:
            response.close()

    def _carry_out(self, steps: Exchange) -> httpx.Response:
        outcome: Outcome = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                response: httpx.Response = end.value
                return response
            outcome = self._do(step)

    def _do(self, step: Send | Wait) -> Outcome:
        if isinstance(step, Wait):
            time.sleep(step.seconds)
            return None
        try:
            response = self._http.send(step.request, stream=step.stream)
            if not response.is_success:
                response.read()
            return response
        except httpx.TransportError as error:
            return error
