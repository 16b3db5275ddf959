"""The calls of files and batches: a file of requests is answered in a file, while nobody else needs the machine.

    file = client.upload(requests("/v1/completions", {"a": {"prompt": "To be"}, "b": {"prompt": "or not"}}))
    batch = client.create_batch(file.id, "/v1/completions")
    …                                                   # until client.batch(batch.id).ended
    results(client.content(batch.output_file_id))       # {"a": {…}, "b": {…}}

A service has them where its operator set a directory for them.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

import httpx

from amostra import answers, sent
from amostra.call import Call, content_of
from amostra.sent import Body, File

T = TypeVar("T")
_FILES, _BATCHES = "/v1/files", "/v1/batches"


@dataclass(frozen=True)
class StoredFile:
    """A file that the service keeps."""

    id: str
    filename: str
    bytes: int
    purpose: str
    """batch, batch_output …"""
    created_at: int
    """Seconds since 1970."""
    expires_at: int | None


@dataclass(frozen=True)
class Batch:
    """How far a batch is."""

    id: str
    status: str
    """validating, in_progress, finalizing, completed, failed, expired, cancelling, cancelled."""
    endpoint: str
    input_file_id: str
    output_file_id: str | None
    error_file_id: str | None
    request_counts: Mapping[str, int]
    """total, completed, failed."""
    errors: Mapping[str, Any] | None
    metadata: Mapping[str, str] | None
    created_at: int
    expires_at: int | None

    @property
    def ended(self) -> bool:
        """Whether nothing of it is still to come."""
        return self.status in ("completed", "failed", "expired", "cancelled")


def requests(endpoint: str, bodies: Mapping[str, Mapping[str, Any]]) -> bytes:
    """An input file: JSON bodies of requests to an endpoint by names that come back with their results."""
    lines = ({"custom_id": name, "method": "POST", "url": endpoint, "body": body} for name, body in bodies.items())
    return b"".join(sent.json_bytes(line) + b"\n" for line in lines)


def results(content: bytes) -> dict[str, Any]:
    """The answers in an output or error file by the names of their requests."""
    lines = map(json.loads, content.splitlines())
    return {line["custom_id"]: line["response"]["body"] if line["response"] else line["error"] for line in lines}


def upload(content: File, *, name: str = "requests.jsonl") -> Call[StoredFile]:
    """Upload a file of requests: its bytes, or where it lies."""
    parts = {"files": {"file": (name, sent.bytes_of(content))}, "data": {"purpose": "batch"}}
    return Call("POST", _FILES, _one_of(StoredFile), Body(parts), repeatable=False)


def files(*, after: str | None = None, limit: int | None = None) -> Call[list[StoredFile]]:
    """The files, `after` one of them."""
    return Call("GET", _FILES, _all_of(StoredFile), Body(query=sent.texts({"after": after, "limit": limit})))


def file(file_id: str) -> Call[StoredFile]:
    """One file: its name, size and age."""
    return Call("GET", _at(_FILES, file_id), _one_of(StoredFile))


def content(file_id: str) -> Call[bytes]:
    """What is in a file."""
    return Call("GET", _at(_FILES, file_id, "/content"), content_of, accept="*/*")


def delete_file(file_id: str) -> Call[None]:
    """Delete a file."""
    return Call("DELETE", _at(_FILES, file_id), _nothing, repeatable=False)


def create_batch(input_file_id: str, endpoint: str, *, metadata: Mapping[str, str] | None = None) -> Call[Batch]:
    """Have the requests of a file answered."""
    asked = {"input_file_id": input_file_id, "endpoint": endpoint, "completion_window": "24h", "metadata": metadata}
    return Call("POST", _BATCHES, _one_of(Batch), sent.of_json(asked), repeatable=False)


def batches(*, after: str | None = None, limit: int | None = None) -> Call[list[Batch]]:
    """The batches, the youngest first, `after` one of them."""
    return Call("GET", _BATCHES, _all_of(Batch), Body(query=sent.texts({"after": after, "limit": limit})))


def batch(batch_id: str) -> Call[Batch]:
    """How far a batch is."""
    return Call("GET", _at(_BATCHES, batch_id), _one_of(Batch))


def cancel_batch(batch_id: str) -> Call[Batch]:
    """Cancel a batch; what was answered is kept."""
    return Call("POST", _at(_BATCHES, batch_id, "/cancel"), _one_of(Batch), repeatable=False)


def _at(path: str, name: str, what: str = "") -> str:
    return f"{path}/{quote(name, safe='')}{what}"


def _one_of(kind: type[T]) -> Callable[[httpx.Response], T]:
    return lambda response: answers.record(kind, answers.json_of(response))


def _all_of(kind: type[T]) -> Callable[[httpx.Response], list[T]]:
    return lambda response: [answers.record(kind, entry) for entry in answers.json_of(response)["data"]]


def _nothing(response: httpx.Response) -> None:
    return None
