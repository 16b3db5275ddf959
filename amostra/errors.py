"""What can go wrong with a call.

    AmostraError
    ├── Unreachable      nobody answers at the address, or the connection broke
    ├── TimedOut         the answer was not there in time: 504, or this side's clock
    ├── Busy             429, 503: worth another try after `retry_after` seconds
    ├── Unauthorized     401, 403: no key, or one that the service does not know
    ├── NotFound         404: no such model or route
    ├── Invalid          any other 4xx: `field` is what to change
    └── Failed           any other answer: a bug of the service, or no service of ours

The message is the service's own: it names the field, the value and the remedy.
"""

import json
from collections.abc import Mapping
from typing import Any

import httpx


class AmostraError(Exception):
    """A call that has no result. What is not known of it is None."""

    def __init__(
        self,
        detail: str,
        *,
        status: int | None = None,
        code: str | None = None,
        field: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        """The HTTP status."""
        self.code = code
        """The service's name of the error, such as `overloaded`."""
        self.field = field
        """The part of the request that it is about."""
        self.request_id = request_id
        """What the service's log calls the request."""
        self.retry_after = retry_after
        """Seconds after which another try is worth while."""


class Unreachable(AmostraError):
    pass


class TimedOut(AmostraError):
    pass


class Busy(AmostraError):
    pass


class Unauthorized(AmostraError):
    pass


class NotFound(AmostraError):
    pass


class Invalid(AmostraError):
    pass


class Failed(AmostraError):
    pass


_BY_STATUS = {401: Unauthorized, 403: Unauthorized, 404: NotFound, 429: Busy, 503: Busy, 504: TimedOut}


def from_response(response: httpx.Response) -> AmostraError:
    """The error that an answer stands for, whoever gave it: a proxy in between does not speak our language."""
    try:
        problem = json.loads(response.content)
    except ValueError:
        problem = None
    if not isinstance(problem, Mapping) or not isinstance(problem.get("error"), Mapping):
        elsewhere = response.headers.get("location")
        found = f"a redirection to {elsewhere}" if elsewhere else f"{response.content[:80]!r}"
        problem = {
            "detail": f"{response.request.url}: expected an answer of an Amostra service, found status "
            f"{response.status_code} and {found}: check the address"
        }
    return from_problem(problem, response.status_code, response.headers)


def from_problem(
    problem: Mapping[str, Any], status: int | None = None, headers: Mapping[str, str] | None = None
) -> AmostraError:
    """The error of a problem document, as an answer or within a stream."""
    status = status or problem.get("status") or 500
    about = problem.get("error") or {}
    request_id = problem.get("instance", "").rpartition(":")[2]
    kind = _BY_STATUS.get(status) or (Invalid if 400 <= status < 500 else Failed)
    return kind(
        problem.get("detail", ""),
        status=status,
        code=about.get("code"),
        field=about.get("param"),
        request_id=(headers or {}).get("x-request-id") or request_id or None,
        retry_after=_seconds((headers or {}).get("retry-after")),
    )


def from_transport(error: httpx.TransportError, url: str) -> AmostraError:
    """The error of a connection."""
    if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
        return TimedOut(f"{url} gave no answer in time: allow more, or ask for less")
    why = str(error) or type(error).__name__
    return Unreachable(f"{url} cannot be reached ({why}): is the service running, and is this its address?")


def unexpected(error: Exception, url: str) -> Failed:
    """An answer that says it is well and cannot be read."""
    return Failed(
        f"{url}: the answer cannot be read ({type(error).__name__}: {error}): check the address, and that client and "
        "service are of one version"
    )


def _seconds(text: str | None) -> float | None:
    """Retry-After. Our service gives seconds; of a proxy that gives a date nothing is taken."""
    try:
        return None if text is None else max(0.0, float(text))
    except ValueError:
        return None
