"""What came of a line, as a line of the output or of the error file.

    {"id": …, "custom_id": …, "response": {"status_code": 200, "request_id": …, "body": {…}}, "error": null}

The body is the answer's own bytes.
"""

import hashlib
from dataclasses import dataclass

import orjson


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer with its status and JSON body, or the code and the message of why there is none."""

    status: int = 0
    body: bytes = b"null"
    code: str | None = None
    message: str = ""

    @property
    def good(self) -> bool:
        """Whether it belongs into the output file."""
        return 200 <= self.status < 300


def request_id(batch_id: str, line: int) -> str:
    """The id of the request that a line becomes, in logs and in its answer."""
    return f"{batch_id.removeprefix('batch_')}-{line}"


def written(batch_id: str, line: int, custom_id: str, outcome: Outcome) -> bytes:
    """The line of the file, with its end."""
    asked = request_id(batch_id, line)
    head = {"id": f"batch_req_{hashlib.sha256(asked.encode()).hexdigest()[:24]}", "custom_id": custom_id}
    if outcome.code is not None:
        error = {"code": outcome.code, "message": outcome.message}
        return orjson.dumps({**head, "response": None, "error": error}) + b"\n"
    response = orjson.dumps({"status_code": outcome.status, "request_id": asked})
    front = orjson.dumps(head)[:-1] + b',"response":' + response[:-1] + b',"body":'
    return front + outcome.body + b'},"error":null}\n'
