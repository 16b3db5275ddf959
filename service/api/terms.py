"""On what terms a request wants its answer: how soon, and whether others may go first.

x-request-timeout: 2.5            seconds; refused at once where the queue is known to be longer
x-request-priority: background    waits for every interactive request of every model
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from starlette.requests import Request

from service.api.headers import has_any, header
from service.engine.batch import BACKGROUND, INTERACTIVE
from service.errors import Invalid
from service.settings import Settings

PROTECTED = ("/v1/", "/v2/models/", "/v2/repository/")
"""Paths that ask for a key, where there are keys; health and metrics are the operator's, whose network guards them."""
LEAST_SECONDS = 0.001
TIMEOUT, PRIORITY = "x-request-timeout", "x-request-priority"
_TIMEOUT, _PRIORITY = TIMEOUT.encode(), PRIORITY.encode()
_EITHER = frozenset((_TIMEOUT, _PRIORITY))
TERMS = "amostra.terms"
"""Where the scope of a request that comes from within has its terms: headers cannot say these."""
HEADERS: dict[str, dict[str, Any]] = {
    TIMEOUT: {"type": "number", "minimum": LEAST_SECONDS, "description": "Seconds until the answer is of no use."},
    PRIORITY: {"enum": ["interactive", "background"], "description": "Whether others may go first."},
}
"""For the documentation."""
_PRIORITIES = {"interactive": INTERACTIVE, "background": BACKGROUND}


@dataclass(frozen=True, slots=True)
class Terms:
    """`seconds` until the answer is of no use; `strict` where the client said so itself. `owner` is the id of the key on
    whose account a request from within comes."""

    seconds: float
    strict: bool
    priority: int
    owner: str = ""


def terms_of(request: Request, settings: Settings) -> Terms:
    """What the headers say, or the defaults; of a request from within, its own. Raises Invalid."""
    if TERMS in request.scope:
        return request.scope[TERMS]
    seconds = settings.request_timeout_seconds
    if not has_any(request, _EITHER):
        return _usual(seconds)
    wanted, priority = header(request, _TIMEOUT, None), header(request, _PRIORITY, "interactive")
    if wanted is not None:
        seconds = min(seconds, _seconds(wanted))
    if priority not in _PRIORITIES:
        raise Invalid(f"{PRIORITY}: expected one of {', '.join(_PRIORITIES)}, found {priority[:40]!r}", field=PRIORITY)
    return Terms(seconds, wanted is not None, _PRIORITIES[priority])


@lru_cache(16)
def _usual(seconds: float) -> Terms:
    return Terms(seconds, False, INTERACTIVE)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not LEAST_SECONDS <= seconds < math.inf:
        raise Invalid(f"{TIMEOUT}: expected {LEAST_SECONDS:g} seconds or more, found {text[:40]!r}", field=TIMEOUT)
    return seconds
