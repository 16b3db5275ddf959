"""What Schemathesis is not to send, and what it is to send otherwise."""

import contextlib
from typing import Any

import schemathesis

TIMEOUT = "x-request-timeout"
LEAST_SECONDS, ENOUGH = 0.001, "60"


@schemathesis.hook
def filter_case(context: schemathesis.HookContext, case: schemathesis.Case) -> bool:
    """No headers that nobody knows: HTTP lets every client send them (RFC 9110, section 5.1), and all are ignored. No empty
    list as a form's field: nothing of it is sent, so that nobody could refuse it."""
    unknown = "x-schemathesis-unknown-property" in {name.lower() for name in case.headers or {}}
    form = case.body if case.media_type == "multipart/form-data" and isinstance(case.body, dict) else {}
    return not unknown and [] not in form.values()


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, Any]) -> None:
    """Deadlines that are sound are a minute: one of a millisecond is answered with 504, as it should be, which no check
    knows. Those that are not stay as they are."""
    headers = case.headers or {}
    for name in [name for name in headers if name.lower() == TIMEOUT]:
        with contextlib.suppress(ValueError):
            if LEAST_SECONDS <= float(headers[name]) < float("inf"):
                headers[name] = ENOUGH
