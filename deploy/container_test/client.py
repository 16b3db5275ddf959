"""Requests to the service, on the standard library alone."""

import base64
import json
import socket
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from deploy.container_test.shell import ROOT

PICTURES = ROOT / "docs/pictures"


def picture(name: str) -> bytes:
    """A picture of the documentation."""
    return (PICTURES / name).read_bytes()


def b64(name: str) -> str:
    """A picture of the documentation, for JSON."""
    return base64.b64encode(picture(name)).decode()


class Failed(Exception):
    """An answer that is not the one that was expected."""


@dataclass(frozen=True)
class Ask:
    """A request, under the path that the API's document has for it."""

    method: str
    route: str
    body: Any = None
    parameters: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    expected: int = 200


_GRAPH, _VERSION = ("name", "pendigits-flow.log_density"), ("version", "1")
_TENSORS = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 16], "data": [0.5] * 16}]}

EVERY_ROUTE = (
    Ask("GET", "/v1/models"),
    Ask("GET", "/v1/models/{id}", parameters=(("id", "mnist-flow"),)),
    Ask("GET", "/v1/models/{id}/sheet", parameters=(("id", "mnist-gan"),)),
    Ask("GET", "/v1/models/{id}/drift", parameters=(("id", "mnist-flow"),)),
    Ask("GET", "/v1/models/{id}/calibration", parameters=(("id", "mnist-flow"),)),
    Ask("POST", "/v1/images/generations", {"n": 3, "seed": 1}),
    Ask("POST", "/v1/images/generations", {"model": "mnist-diffusion", "n": 2, "seed": 1, "steps": 6}),
    Ask("POST", "/v1/rows/generations", {"n": 3, "seed": 1}),
    Ask("POST", "/v1/images/edits", {"image": b64("thin-three.png"), "mask": b64("mask.png")}),
    Ask("POST", "/v1/images/denoise", {"image": b64("clean.png")}),
    Ask("POST", "/v1/images/restore", {"image": b64("small.png"), "model": "mnist-upscaler"}),
    Ask("POST", "/v1/score", {"image": [b64("corner.png"), b64("thin-three.png")]}),
    Ask("POST", "/v1/score", {"input": "To be, or not to be"}),
    Ask("POST", "/v1/embeddings", {"input": "What light through yonder window breaks?"}),
    Ask("POST", "/v1/completions", {"prompt": "ROMEO:", "max_tokens": 40, "seed": 1}),
    Ask("POST", "/v1/completions", {"prompt": "ROMEO:", "max_tokens": 20, "seed": 1, "stream": True}),
    Ask("GET", "/v2"),
    Ask("GET", "/v2/health/live"),
    Ask("GET", "/v2/health/ready"),
    Ask("POST", "/v2/repository/index", {}),
    Ask("GET", "/v2/models/{name}", parameters=(_GRAPH,)),
    Ask("GET", "/v2/models/{name}/ready", parameters=(_GRAPH,)),
    Ask("POST", "/v2/models/{name}/infer", _TENSORS, (_GRAPH,)),
    Ask("GET", "/v2/models/{name}/versions/{version}", parameters=(_GRAPH, _VERSION)),
    Ask("GET", "/v2/models/{name}/versions/{version}/ready", parameters=(_GRAPH, _VERSION)),
    Ask("POST", "/v2/models/{name}/versions/{version}/infer", _TENSORS, (_GRAPH, _VERSION)),
    Ask("GET", "/livez"),
    Ask("GET", "/readyz"),
    Ask("GET", "/metrics"),
    Ask("GET", "/openapi.json"),
    Ask("GET", "/docs"),
)
"""At least one request for each route, but for those of files and batches: `a_batch`."""

REFUSED = (
    Ask("POST", "/v1/images/generations", {"n": 0}, expected=422),
    Ask("POST", "/v1/completions", {"model": "nobody", "prompt": "a"}, expected=404),
    Ask(
        "POST",
        "/v1/completions",
        {"prompt": "ROMEO:", "max_tokens": 1000},
        headers=(("x-request-timeout", "0.002"),),
        expected=504,
    ),
)
"""Requests that end in errors, as each of them should."""


def send(url: str, ask: Ask, seconds: float = 60) -> tuple[int, bytes]:
    """Send a request; its status and its answer."""
    path = ask.route
    for name, value in ask.parameters:
        path = path.replace(f"{{{name}}}", value)
    body = ask.body if ask.body is None or isinstance(ask.body, bytes) else json.dumps(ask.body).encode()
    headers = {"content-type": "application/json", **dict(ask.headers)}
    request = urllib.request.Request(url + path, body, headers, method=ask.method)
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def a_batch(url: str) -> set[tuple[str, str]]:
    """Upload requests, run them as a batch, read the answers, cancel another batch, clean up. Returns the methods and routes
    that were asked; raises Failed."""
    asked = set()

    def ask(method: str, route: str, body: Any = None, headers: tuple = (), **parameters: str) -> bytes:
        asked.add((method, route))
        code, answer = send(url, Ask(method, route, body, tuple(parameters.items()), headers))
        if code != 200:
            raise Failed(f"{method} {route}: {code} {answer[:300]!r}")
        return answer

    lines = [
        {"custom_id": f"{i}", "method": "POST", "url": "/v1/completions", "body": {"prompt": "ROMEO:", "max_tokens": 8}}
        for i in range(5)
    ]
    content = "\n".join(json.dumps(line) for line in lines)
    form = f"""--x\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--x\r
content-disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{content}\r\n--x--\r\n"""
    file = json.loads(ask("POST", "/v1/files", form.encode(), (("content-type", "multipart/form-data; boundary=x"),)))[
        "id"
    ]
    ask("GET", "/v1/files")
    ask("GET", "/v1/files/{id}", id=file)
    wanted = {"input_file_id": file, "endpoint": "/v1/completions", "completion_window": "24h"}
    batch = json.loads(ask("POST", "/v1/batches", wanted))
    end = time.monotonic() + 60
    while batch["status"] != "completed":
        if time.monotonic() > end:
            raise Failed(f"the batch is {batch['status']} after a minute")
        time.sleep(0.2)
        batch = json.loads(ask("GET", "/v1/batches/{id}", id=batch["id"]))
    answers = ask("GET", "/v1/files/{id}/content", id=batch["output_file_id"]).decode().splitlines()
    found = [json.loads(line)["custom_id"] for line in answers]
    if found != [line["custom_id"] for line in lines]:
        raise Failed(f"the batch answered {found}")
    another = json.loads(ask("POST", "/v1/batches", wanted))["id"]
    ask("POST", "/v1/batches/{id}/cancel", id=another)
    ask("GET", "/v1/batches")
    ask("DELETE", "/v1/files/{id}", id=batch["output_file_id"])
    return asked


def status(url: str) -> int:
    """The status of a GET; 0 where nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def leave(port: int) -> None:
    """Ask for a long text and go before it is there."""
    body = json.dumps({"prompt": "ROMEO:", "max_tokens": 1000, "n": 4}).encode()
    head = "POST /v1/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        connection.settimeout(0.3)
        try:
            connection.recv(1)
        except TimeoutError:
            return
