"""Logs: lines for people, or one JSON object a line. A line that is written on behalf of a request has its id and trace."""

import logging
from contextvars import ContextVar
from typing import Literal

from pythonjsonlogger.json import JsonFormatter

request: ContextVar[dict[str, str] | None] = ContextVar("request", default=None)
"""What is known of the request that this code runs for: request_id, and trace_id where it is traced."""

_FIELDS = {"levelname": "level", "name": "logger", "asctime": "time"}


class _OfRequest(logging.Filter):
    """Adds to each record what is known of its request."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = record.trace_id = None
        for name, value in (request.get() or {}).items():
            setattr(record, name, value)
        return True


def configure(kind: Literal["text", "json"]) -> None:
    """Say how all that is logged from now on is written, on the error stream."""
    handler = logging.StreamHandler()
    handler.addFilter(_OfRequest())
    if kind == "json":
        form = "%(asctime)s %(levelname)s %(name)s %(message)s %(request_id)s %(trace_id)s"
        handler.setFormatter(JsonFormatter(form, rename_fields=_FIELDS))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(handlers=[handler], force=True)
    logging.getLogger("amostra").setLevel(logging.INFO)
