"""Batches over HTTP: from a file of requests to the files of answers."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from service.batches.schemas import BATCHED
from service.keys import new_key
from tests.service.api.client import Api, b64, png, said
from tests.toys.directories import EMBEDDER, TABLE, normal_images

FILES, BATCHES = "/v1/files", "/v1/batches"
COMPLETE, GENERATE = "/v1/completions", "/v1/images/generations"
ENDED = {"completed", "failed", "expired", "cancelled"}
WRITE = {"prompt": "To be", "max_tokens": 5}


def lines(endpoint: str, *bodies: dict[str, Any]) -> bytes:
    """An input file, whose lines are called 0, 1, …"""
    asked = [{"custom_id": str(i), "method": "POST", "url": endpoint, "body": body} for i, body in enumerate(bodies)]
    return b"".join(orjson.dumps(line) + b"\n" for line in asked)


def upload(api: Api, content: bytes, **head: Any) -> str:
    answer = api.post(FILES, files={"file": ("requests.jsonl", content)}, data={"purpose": "batch"}, **head)
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def begin(api: Api, endpoint: str, content: bytes, head: dict[str, str] | None = None, **wishes: Any) -> dict[str, Any]:
    ask = {"input_file_id": upload(api, content, headers=head), "endpoint": endpoint, "completion_window": "24h"}
    answer = api.post(BATCHES, json={**ask, **wishes}, headers=head)
    assert answer.status_code == 200, answer.text
    return answer.json()


def until(api: Api, batch: dict[str, Any], *statuses: str, head: dict[str, str] | None = None) -> dict[str, Any]:
    """The batch, as soon as it is in one of these states."""

    async def look() -> dict[str, Any]:
        async with asyncio.timeout(30):
            while True:
                now = (await api.send("GET", f"{BATCHES}/{batch['id']}", headers=head)).json()
                if now["status"] in (statuses or ENDED):
                    return now
                await asyncio.sleep(0.01)

    return api.run(look())


def content(api: Api, file_id: str | None, head: dict[str, str] | None = None) -> list[dict[str, Any]]:
    if file_id is None:
        return []
    answer = api.get(f"{FILES}/{file_id}/content", headers=head)
    assert answer.status_code == 200
    return [orjson.loads(line) for line in answer.content.splitlines()]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Shared by the tests that need no other settings."""
    from tests.toys import directories

    folder = tmp_path_factory.mktemp("batches")
    api = Api(directories.write_store(folder / "store"), batch_dir=folder / "batches")
    yield api
    api.close()


PICTURE = b64(png(normal_images(1, seed=0)[0]))
ASKED: dict[str, list[dict[str, Any]]] = {
    "/v1/completions": [{**WRITE, "seed": seed, "temperature": 0.5 * seed, "n": 2} for seed in range(3)],
    "/v1/embeddings": [{"model": EMBEDDER, "image": PICTURE}, {"image": PICTURE, "encoding_format": "base64"}],
    "/v1/score": [{"model": TABLE, "inputs": [[0.1, 0.2, 0.3]] * (n + 1)} for n in range(3)],
    "/v1/images/generations": [{"n": 2, "seed": 1}, {"prompt": "7", "seed": 2}, {"n": 3, "seeds": [1, 2]}],
    "/v1/rows/generations": [{"n": 3, "seed": 1}, {"latents": [[0.5] * 5], "seed": 1}, {"n": 2, "seeds": [1, 2]}],
    "/v1/images/denoise": [{"image": PICTURE, "sigma": 0.1}],
    "/v1/images/restore": [{"image": PICTURE}],
    "/v1/images/edits": [{"image": PICTURE, "mask": PICTURE, "seed": 3}],
}


@pytest.mark.parametrize("endpoint", BATCHED)
def test_every_endpoint_answers_as_it_does_online(api: Api, endpoint: str) -> None:
    online = [api.post(endpoint, json=body) for body in ASKED[endpoint]]
    batch = begin(api, endpoint, lines(endpoint, *ASKED[endpoint]))
    assert (batch["object"], batch["status"]) == ("batch", "validating")
    batch = until(api, batch)
    assert (batch["status"], batch["errors"]) == ("completed", None)
    good = [i for i, answer in enumerate(online) if answer.status_code == 200]
    assert batch["request_counts"] == {
        "total": len(online),
        "completed": len(good),
        "failed": len(online) - len(good),
    }
    assert good
    written = content(api, batch["output_file_id"])
    assert [int(line["custom_id"]) for line in written] == good
    assert len({line["id"] for line in written}) == len(written)
    for line in written:
        assert line["error"] is None
        response = line["response"]
        assert (response["status_code"], response["request_id"] != "") == (200, True)
        volatile = ("id", "created")
        assert {k: v for k, v in response["body"].items() if k not in volatile} == said(online[int(line["custom_id"])])


def test_its_times_tell_how_it_went(api: Api) -> None:
    batch = until(api, begin(api, COMPLETE, lines(COMPLETE, WRITE), metadata={"night": "1"}))
    assert batch["created_at"] <= batch["in_progress_at"] <= batch["finalizing_at"] <= batch["completed_at"]
    assert batch["expires_at"] - batch["created_at"] == 86_400
    assert {batch[f"{name}_at"] for name in ("failed", "expired", "cancelling", "cancelled")} == {None}
    assert batch["metadata"] == {"night": "1"}
    file = api.get(f"{FILES}/{batch['output_file_id']}").json()
    assert (file["purpose"], file["filename"]) == ("batch_output", f"{batch['id']}_output.jsonl")


def test_lines_that_fail_stand_in_the_error_file(api: Api) -> None:
    bodies = [WRITE, {"max_tokens": -1}, {"model": "nobody"}, {**WRITE, "stream": True}, {"prompt": "a", "n": 100}]
    batch = until(api, begin(api, COMPLETE, lines(COMPLETE, *bodies)))
    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": 5, "completed": 1, "failed": 4}
    assert [line["custom_id"] for line in content(api, batch["output_file_id"])] == ["0"]
    failed = content(api, batch["error_file_id"])
    assert [line["custom_id"] for line in failed] == ["1", "2", "3", "4"]
    for line, body in zip(failed, bodies[1:], strict=True):
        if body.get("stream"):
            assert line["response"] is None
            assert line["error"]["code"] == "not_json"
            continue
        online = api.post(COMPLETE, json=body)
        assert line["error"] is None
        assert line["response"]["status_code"] == online.status_code
        assert line["response"]["body"]["error"] == online.json()["error"]


def test_a_seed_that_is_left_out_follows_from_the_line(api: Api) -> None:
    batch = until(api, begin(api, GENERATE, lines(GENERATE, {}, {}, {"seed": None})))
    bodies = [line["response"]["body"] for line in content(api, batch["output_file_id"])]
    assert len({body["seed"] for body in bodies}) == 3
    for body in bodies:
        assert said(api.post(GENERATE, json={"seed": body["seed"]}))["data"] == body["data"]


@pytest.mark.parametrize(
    ("file", "code", "line"),
    [
        (b"", "empty_file", None),
        (b"\n \n", "empty_file", None),
        (b"{}\nnothing\n", "missing_required_parameter", 1),
        (lines(COMPLETE, WRITE) + b"nothing\n", "invalid_json_line", 2),
        (lines(COMPLETE, WRITE) + b"\n[]\n", "invalid_request", 3),
        (lines(COMPLETE, WRITE) * 2, "duplicate_custom_id", 2),
        (lines(GENERATE, {}), "invalid_url", 1),
        (lines(COMPLETE, WRITE).replace(b"POST", b"GET"), "invalid_request", 1),
        (lines(COMPLETE, WRITE).replace(b'"0"', b'""'), "invalid_request", 1),
        (lines(COMPLETE, {"prompt": "x" * 300_000}), "request_too_large", 1),
        (
            b'{"custom_id":"a","method":"POST","url":"/v1/completions","body":' + b'{"a":' * 300 + b"1" + b"}" * 301,
            "invalid_request",
            1,
        ),
    ],
)
def test_a_file_that_is_wrong_fails_with_the_lines_that_are(api: Api, file: bytes, code: str, line: int | None) -> None:
    batch = until(api, begin(api, COMPLETE, file))
    assert batch["status"] == "failed"
    assert batch["errors"]["object"] == "list"
    error = batch["errors"]["data"][0]
    assert (error["code"], error["line"]) == (code, line)
    assert error["message"]
    assert (batch["output_file_id"], batch["error_file_id"]) == (None, None)
    assert batch["request_counts"] == {"total": 0, "completed": 0, "failed": 0}


@pytest.mark.parametrize(
    ("ask", "status", "param"),
    [
        ({"input_file_id": "file-none"}, 404, "file_id"),
        ({"endpoint": "/v1/chat/completions"}, 422, "endpoint"),
        ({"endpoint": BATCHES}, 422, "endpoint"),
        ({"completion_window": "0h"}, 422, "completion_window"),
        ({"completion_window": "169h"}, 422, "completion_window"),
        ({"completion_window": "soon"}, 422, "completion_window"),
        ({"metadata": {str(i): "" for i in range(17)}}, 422, "metadata"),
        ({"metadata": {"a": 1}}, 422, "metadata.a"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, 422, "output_expires_after.seconds"),
        ({"beside": 1}, 422, "beside"),
    ],
)
def test_what_cannot_be_is_refused(api: Api, ask: dict[str, Any], status: int, param: str) -> None:
    sound = {"input_file_id": upload(api, lines(COMPLETE, WRITE)), "endpoint": COMPLETE, "completion_window": "24h"}
    answer = api.post(BATCHES, json={**sound, **ask})
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param), answer.text


def test_answers_are_no_input(api: Api) -> None:
    batch = until(api, begin(api, COMPLETE, lines(COMPLETE, WRITE)))
    answer = api.post(BATCHES, json={"input_file_id": batch["output_file_id"], "endpoint": COMPLETE})
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "input_file_id")


def test_they_are_listed_in_pages(api: Api) -> None:
    made = [begin(api, COMPLETE, lines(COMPLETE, WRITE))["id"] for _ in range(3)]
    first = api.get(BATCHES, params={"limit": 2}).json()
    assert ([batch["id"] for batch in first["data"]], first["has_more"]) == (made[:0:-1], True)
    rest = api.get(BATCHES, params={"limit": 1, "after": first["last_id"]}).json()
    assert [batch["id"] for batch in rest["data"]] == made[:1]
    assert api.get(BATCHES, params={"limit": "101"}).status_code == 422
    assert api.get(f"{BATCHES}/batch_none").status_code == 404


def test_cancelling_keeps_what_was_answered(make_api: Callable[..., Api], tmp_path: Path) -> None:
    api = make_api(batch_dir=tmp_path, batch_in_flight=1, max_batch_rows=1)
    batch = begin(api, COMPLETE, lines(COMPLETE, *[{**WRITE, "max_tokens": 25}] * 300))

    async def some() -> None:
        while not (await api.send("GET", f"{BATCHES}/{batch['id']}")).json()["request_counts"]["completed"]:
            await asyncio.sleep(0.005)

    api.run(some())
    file = f"{FILES}/{batch['input_file_id']}"
    assert api.run(api.send("DELETE", file)).status_code == 409
    answer = api.post(f"{BATCHES}/{batch['id']}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelling")
    ended = until(api, batch)
    assert ended["status"] == "cancelled"
    assert ended["cancelling_at"] <= ended["cancelled_at"]
    good, rest = content(api, ended["output_file_id"]), content(api, ended["error_file_id"])
    assert 0 < len(good) < 300
    assert sorted(int(line["custom_id"]) for line in good + rest) == list(range(300))
    assert {line["error"]["code"] for line in rest} == {"batch_cancelled"}
    assert ended["request_counts"] == {"total": 300, "completed": len(good), "failed": len(rest)}
    assert api.post(f"{BATCHES}/{batch['id']}/cancel").status_code == 409
    assert api.run(api.send("DELETE", file)).status_code == 200
    api.run(api.idle())


def test_what_does_not_fit_is_asked_again(make_api: Callable[..., Api], tmp_path: Path) -> None:
    """An engine that is full refuses with 429; no line is lost by that."""
    api = make_api(batch_dir=tmp_path, queue_requests=2)
    batch = until(api, begin(api, GENERATE, lines(GENERATE, *[{"seed": i} for i in range(6)])))
    assert batch["request_counts"] == {"total": 6, "completed": 6, "failed": 0}


def test_answers_that_take_too_much_room_end_it(make_api: Callable[..., Api], tmp_path: Path) -> None:
    api = make_api(batch_dir=tmp_path, batch_storage_mb=1, max_images=1000, max_body_bytes=2**22)
    bodies = [{"n": 400, "seed": i} for i in range(20)]
    batch = until(api, begin(api, GENERATE, lines(GENERATE, *bodies)))
    assert batch["status"] == "failed"
    assert batch["errors"]["data"][0]["code"] == "storage_full"
    assert "AMOSTRA_BATCH_STORAGE_MB" in batch["errors"]["data"][0]["message"]
    good, rest = content(api, batch["output_file_id"]), content(api, batch["error_file_id"])
    assert 0 < len(good) < 20
    assert len(good) + len(rest) == 20
    size = sum(path.stat().st_size for path in (tmp_path / "files").iterdir())
    assert size < 1.1 * 2**20


def test_lines_go_behind_interactive_requests(make_api: Callable[..., Api], tmp_path: Path) -> None:
    api = make_api(batch_dir=tmp_path, workers=1, max_batch_rows=1)

    async def talk() -> tuple[float, int]:
        start = time.monotonic()
        for seed in range(20):
            answer = await api.send("POST", GENERATE, json={"seed": seed})
            assert answer.status_code == 200
        found = (await api.send("GET", f"{BATCHES}/{batch['id']}")).json()
        return time.monotonic() - start, found["request_counts"]["completed"]

    batch = begin(api, GENERATE, lines(GENERATE, *[{"n": 40, "seed": i} for i in range(200)]))
    until(api, batch, "in_progress")
    _, done = api.run(talk())
    assert done < 100  # 20 short requests were not kept waiting by 8,000 images
    assert until(api, batch)["request_counts"]["completed"] == 200


def test_it_is_done_on_the_account_of_its_key(make_api: Callable[..., Api], tmp_path: Path) -> None:
    keys = {name: new_key() for name in ("day", "night")}
    file = tmp_path / "keys.toml"
    file.write_text(
        "".join(f'[{name}]\nsha256 = "{digest}"\nrequests_per_second = 50\n' for name, (_, digest) in keys.items())
    )
    api = make_api(batch_dir=tmp_path / "batches", keys_file=file)
    day, night = ({"authorization": f"Bearer {key}"} for key, _ in keys.values())
    batch = begin(api, COMPLETE, lines(COMPLETE, *[WRITE] * 30), night)
    ended = until(api, batch, head=night)
    assert ended["request_counts"]["completed"] == 30
    metrics = api.get("/metrics").text
    seconds = {
        line.split('"')[1]: float(line.split()[-1])
        for line in metrics.splitlines()
        if line.startswith("amostra_key_compute_seconds_total{")
    }
    assert list(seconds) == ["night"]
    assert seconds["night"] > 0
    assert api.get(f"{BATCHES}/{batch['id']}", headers=day).status_code == 404
    assert api.post(f"{BATCHES}/{batch['id']}/cancel", headers=day).status_code == 404
    assert api.get(BATCHES, headers=day).json()["data"] == []
    assert api.get(f"{FILES}/{ended['output_file_id']}/content", headers=day).status_code == 404
    assert len(content(api, ended["output_file_id"], night)) == 30


def test_metrics_count_them_apart(make_api: Callable[..., Api], tmp_path: Path) -> None:
    api = make_api(batch_dir=tmp_path)
    until(api, begin(api, COMPLETE, lines(COMPLETE, WRITE, WRITE, {"max_tokens": -1})))
    metrics = api.get("/metrics").text
    assert 'amostra_batch_lines_total{outcome="completed"} 2.0' in metrics
    assert 'amostra_batch_lines_total{outcome="failed"} 1.0' in metrics
    counted = [line for line in metrics.splitlines() if line.startswith("amostra_requests_total{")]
    assert counted  # what was asked over HTTP, and no line
    assert not any(f'route="{COMPLETE}"' in line for line in counted)
    assert "amostra_batch_bytes " in metrics


def test_it_is_as_it_was_after_a_restart(make_api: Callable[..., Api], tmp_path: Path) -> None:
    api = make_api(batch_dir=tmp_path)
    batch = until(api, begin(api, COMPLETE, lines(COMPLETE, WRITE)))
    output = content(api, batch["output_file_id"])
    api.desk.close()
    again = make_api(batch_dir=tmp_path)
    assert again.get(f"{BATCHES}/{batch['id']}").json() == batch
    assert content(again, batch["output_file_id"]) == output


def test_the_documentation_lists_the_routes_that_a_batch_may_ask(api: Api) -> None:
    document = api.get("/openapi.json").json()
    endpoint = document["components"]["schemas"]["BatchBody"]["properties"]["endpoint"]
    posts = {
        path
        for path, item in document["paths"].items()
        if "post" in item and path.startswith("/v1/") and item["post"]["tags"] != ["batches"]
    }
    assert set(endpoint["enum"]) == posts


def test_errors_have_the_one_shape(api: Api) -> None:
    answer: httpx.Response = api.get(f"{BATCHES}/nothing")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["error"]["code"] == "not_found"
