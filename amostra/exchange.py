"""One call from its request to its answer: headers, deadline, retries, errors. It does no input and output: it says what
to send and how long to wait, and is told what came of it; so there is one of it for both clients.

A request may be done twice: one whose answer was lost is sent again. That is harmless, because the service keeps nothing
of it and the same seed gives the same bytes. Calls that make something are sent again only where they cannot have arrived.
"""

import math
import os
import random
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypedDict, TypeVar

import httpx

from amostra import errors
from amostra.call import Call

T = TypeVar("T")
Priority = Literal["interactive", "background"]
DEFAULT_URL = "http://127.0.0.1:3000"
VERSION = "0.1.0"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 8.0
_CONNECT_SECONDS = 10.0
_GRACE_SECONDS = 1.0
"""The service's own word that the time is up says more than ours."""
_LEAST_SECONDS = 0.001


@dataclass(frozen=True)
class Terms:
    """On what terms calls are made."""

    url: str
    key: str | None
    timeout: float | None
    retries: int
    priority: Priority | None

    def __post_init__(self) -> None:
        """Raises ValueError."""
        try:
            url = httpx.URL(self.url)
        except httpx.InvalidURL as error:
            raise ValueError(
                f"url: expected an address, found {self.url!r} ({error}): set it, or AMOSTRA_URL"
            ) from error
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError(f"url: expected http://… or https://…, found {self.url!r}: set it, or AMOSTRA_URL")
        if self.timeout is not None and not _LEAST_SECONDS <= self.timeout < math.inf:
            raise ValueError(f"timeout: expected {_LEAST_SECONDS:g} seconds or more, or None, found {self.timeout!r}")
        if self.retries < 0:
            raise ValueError(f"retries: expected 0 or more, found {self.retries!r}")


class Changes(TypedDict, total=False):
    """The terms that may differ from call to call."""

    key: str | None
    timeout: float | None
    retries: int
    priority: Priority | None


@dataclass(frozen=True)
class Send:
    """To be sent. The body of a good answer to a stream is left to be read."""

    request: httpx.Request
    stream: bool


@dataclass(frozen=True)
class Wait:
    """To be waited."""

    seconds: float


Outcome: TypeAlias = httpx.Response | httpx.TransportError | None
Exchange: TypeAlias = Generator[Send | Wait, Outcome, httpx.Response]


def terms_of(url: str | None, key: str | None, timeout: float | None, retries: int, priority: Priority | None) -> Terms:
    """What is left out comes from AMOSTRA_URL and AMOSTRA_API_KEY. Raises ValueError."""
    url = (url or os.environ.get("AMOSTRA_URL") or DEFAULT_URL).rstrip("/")
    key = (key or os.environ.get("AMOSTRA_API_KEY") or "").strip() or None
    return Terms(url, key, timeout, retries, priority)


def attempts(call: Call[Any], terms: Terms, *, stream: bool = False) -> Exchange:
    """Returns an answer that is no error. Raises AmostraError."""
    end = math.inf if terms.timeout is None else time.monotonic() + terms.timeout
    for attempt in range(terms.retries + 1):
        outcome = yield Send(_request(call, terms, end - time.monotonic()), stream)
        if isinstance(outcome, httpx.Response):
            if outcome.is_success:
                return outcome
            error = errors.from_response(outcome)
        else:
            assert outcome is not None, "a request has an outcome"
            error = errors.from_transport(outcome, terms.url)
        pause = _pause(attempt, error.retry_after)
        if attempt == terms.retries or not _again(call, error, outcome) or time.monotonic() + pause >= end:
            raise error
        yield Wait(pause)
    raise AssertionError("the last attempt returns or raises")


def read(parse: Callable[[httpx.Response], T], response: httpx.Response) -> T:
    """What a good answer says. Raises Failed where it is none of ours."""
    try:
        return parse(response)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise errors.unexpected(error, str(response.request.url)) from error


def _request(call: Call[Any], terms: Terms, seconds: float) -> httpx.Request:
    headers = {"accept": call.accept, "user-agent": f"amostra-python/{VERSION}"}
    limits = {"connect": _CONNECT_SECONDS, "read": None, "write": None, "pool": None}
    if terms.key is not None:
        headers["authorization"] = f"Bearer {terms.key}"
    if terms.priority is not None:
        headers["x-request-priority"] = terms.priority
    if seconds < math.inf:
        seconds = max(seconds, _LEAST_SECONDS)
        headers["x-request-timeout"] = f"{seconds:.3f}"
        ours = seconds + _GRACE_SECONDS
        limits = {"connect": min(_CONNECT_SECONDS, ours), "read": ours, "write": ours, "pool": ours}
    arguments = dict(call.body.arguments)
    return httpx.Request(
        call.method,
        terms.url + call.path,
        params=call.body.query or None,
        headers={**headers, **arguments.pop("headers", {})},
        extensions={"timeout": limits},
        **arguments,
    )


def _again(call: Call[Any], error: errors.AmostraError, outcome: Outcome) -> bool:
    if isinstance(error, errors.Busy):  # refused, so not done
        return True
    never_arrived = isinstance(outcome, httpx.ConnectError | httpx.ConnectTimeout)
    return isinstance(error, errors.Unreachable) and (call.repeatable or never_arrived)


def _pause(attempt: int, retry_after: float | None) -> float:
    """Twice as long each time, spread so that those who were refused together do not come back together."""
    backoff: float = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt)
    return (retry_after or 0.0) + backoff * random.uniform(0.5, 1.0)
