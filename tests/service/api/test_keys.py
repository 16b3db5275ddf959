"""Keys over HTTP: what asks for one, what a key has cost, and that no log or metric ever has it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from service.keys import new_key
from tests.service.api.client import Api

GENERATE = "/v1/images/generations"


@pytest.fixture
def locked(make_api: Callable[..., Api], tmp_path: Path) -> tuple[Api, str]:
    key, digest = new_key()
    file = tmp_path / "keys.toml"
    file.write_text(f'[nightly]\nsha256 = "{digest}"\nrequests_per_second = 2\ncompute_seconds_per_minute = 60')
    return make_api(keys_file=file), key


def test_every_route_of_the_api_asks_for_a_key(locked: tuple[Api, str]) -> None:
    api, _ = locked
    for method, path in (("GET", "/v1/models"), ("GET", "/v1/models/mnist-gan"), ("POST", GENERATE), ("GET", "/v1/x")):
        answer = api.run(api.send(method, path))
        assert answer.status_code == 401, path
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["error"]["code"] == "unauthorized"
    assert api.get("/metrics").status_code == 200


def test_with_one_it_is_answered_and_accounted_for(locked: tuple[Api, str], caplog) -> None:
    api, key = locked
    head = {"authorization": f"Bearer {key}"}
    statuses = [api.post(GENERATE, json={}, headers=head).status_code for _ in range(6)]
    assert statuses[:4] == [200] * 4
    assert 429 in statuses
    refused = api.post(GENERATE, json={}, headers=head)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limited")
    assert int(refused.headers["retry-after"]) >= 1
    metrics = api.get("/metrics").text
    assert 'amostra_key_requests_total{key="nightly",status="200"} 4.0' in metrics
    seconds = next(line for line in metrics.splitlines() if line.startswith("amostra_key_compute_seconds_total{"))
    assert 0 < float(seconds.split()[-1]) < 1
    assert key not in metrics
    assert key not in caplog.text


def test_without_a_file_everybody_may_ask(api: Api) -> None:
    assert api.get("/v1/models", headers={"authorization": "Bearer x"}).status_code == 200
