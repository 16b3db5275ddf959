"""What strangers get to see, and what the log keeps of them: headers, other sites, content."""

import logging

import pytest

from tests.service.api.client import Api
from tests.toys.directories import TABLE

SECRET = "Xanthippe"
ASKS = {
    "an answer": ("POST", "/v1/images/generations", {"json": {}}),
    "an error": ("POST", "/v1/images/generations", {"json": {"n": 0}}),
    "no route": ("GET", "/v1/nowhere", {}),
    "metrics": ("GET", "/metrics", {}),
    "documentation": ("GET", "/docs", {}),
}


@pytest.mark.parametrize("case", ASKS)
def test_every_answer_is_safe_in_a_browser(api: Api, case: str) -> None:
    method, path, request = ASKS[case]
    headers = api.run(api.send(method, path, **request)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert "server" not in headers


@pytest.mark.parametrize("method", ["OPTIONS", "POST", "GET"])
def test_no_other_site_is_let_in(api: Api, method: str) -> None:
    asked = {"origin": "https://elsewhere.example", "access-control-request-method": "POST"}
    answer = api.run(api.send(method, "/v1/completions", headers=asked, json={}))
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": SECRET}),
        ("/v1/completions", {"prompt": "a", "stop": [SECRET]}),
        ("/v1/score", {"model": TABLE, "inputs": [[SECRET, 1, 2]]}),
        ("/v1/score", {"model": SECRET, "inputs": [[1, 1, 2]]}),
        ("/v1/images/denoise", {"image": SECRET}),
    ],
)
def test_the_log_keeps_nothing_of_what_was_sent(
    api: Api, caplog: pytest.LogCaptureFixture, path: str, body: dict[str, object]
) -> None:
    with caplog.at_level(logging.DEBUG, "amostra"):
        api.post(path, json=body, headers={"authorization": f"Bearer {SECRET}"})
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "..%2F..%2Fetc", "mnist-gan/../../x", "mnist-gan@../1", "\x00", "/"]
)
def test_a_name_is_never_a_path(api: Api, name: str) -> None:
    assert api.post("/v1/images/generations", json={"model": name}).status_code == 404
    assert api.get(f"/v1/models/{name.replace(chr(0), '%00')}").status_code in (200, 307, 404)
