"""One tree of errors, one rendering.

    AmostraError
    ├── BadRequest 400           the body is not what its content type says
    ├── Unauthorized 401         no key, or an unknown one, where keys are asked for
    ├── NotFound 404             no such model, version or route
    ├── MethodNotAllowed 405
    ├── NotAcceptable 406        none of the accepted media types can be answered
    ├── Conflict 409             what is asked for does not go with the state that something is in
    ├── TooLarge 413             over a limit; refused before it is parsed
    ├── UnsupportedMediaType 415
    ├── Invalid 422              a field's value is not allowed
    ├── Overloaded 429           the queue is full; Retry-After says when to come back
    ├── RateLimited 429          a key has had what it may have; Retry-After says when there is more
    ├── ClientGone 499           never sent: the client has left
    ├── InternalError 500        our bug; the log has the trace
    ├── ModelFailed 500          a graph failed on this request's rows, or returned a number that is none
    ├── NotReady 503             the model is still being loaded, or was refused
    └── DeadlineExceeded 504

A message names the field, the value and the remedy. On the wire an error is one JSON object that is RFC 9457
problem details and holds OpenAI's `error` object too.
"""

from collections.abc import Iterable
from typing import Any, ClassVar


class AmostraError(Exception):
    """An error with a status; `field` names the offending part of the request."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str, *, field: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field
        self.retry_after = retry_after

    def body(self, request_id: str) -> dict[str, Any]:
        """The envelope: problem details, and OpenAI's `error`."""
        kind = "invalid_request_error" if self.status < 500 and self.status != 429 else f"{self.code}_error"
        return {
            "type": f"urn:amostra:error:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": f"urn:amostra:request:{request_id}",
            "error": {"message": self.detail, "type": kind, "param": self.field, "code": self.code},
        }

    def headers(self) -> dict[str, str]:
        """Headers that go with the status."""
        return {} if self.retry_after is None else {"retry-after": str(max(1, round(self.retry_after + 0.5)))}


class BadRequest(AmostraError):
    status, code, title = 400, "bad_request", "Bad request"


class Unauthorized(AmostraError):
    status, code, title = 401, "unauthorized", "Unauthorized"

    def headers(self) -> dict[str, str]:
        return {"www-authenticate": "Bearer"}


class NotFound(AmostraError):
    status, code, title = 404, "not_found", "Not found"


class MethodNotAllowed(AmostraError):
    status, code, title = 405, "method_not_allowed", "Method not allowed"

    def __init__(self, detail: str, *, field: str | None = None, allow: Iterable[str] = ()) -> None:
        super().__init__(detail, field=field)
        self.allow = tuple(sorted(allow))

    def headers(self) -> dict[str, str]:
        return {"allow": ", ".join(self.allow)} if self.allow else {}


class NotAcceptable(AmostraError):
    status, code, title = 406, "not_acceptable", "Not acceptable"


class Conflict(AmostraError):
    status, code, title = 409, "conflict", "Conflict"


class TooLarge(AmostraError):
    status, code, title = 413, "too_large", "Content too large"


class UnsupportedMediaType(AmostraError):
    status, code, title = 415, "unsupported_media_type", "Unsupported media type"


class Invalid(AmostraError):
    status, code, title = 422, "invalid", "Invalid request"


class Overloaded(AmostraError):
    status, code, title = 429, "overloaded", "Too many requests"


class RateLimited(AmostraError):
    status, code, title = 429, "rate_limited", "Too many requests"


class ClientGone(AmostraError):
    status, code, title = 499, "client_gone", "Client closed request"


class InternalError(AmostraError):
    pass


class ModelFailed(AmostraError):
    status, code, title = 500, "model_failed", "Model failed"


class NotReady(AmostraError):
    status, code, title = 503, "not_ready", "Not ready"


class DeadlineExceeded(AmostraError):
    status, code, title = 504, "deadline_exceeded", "Deadline exceeded"
