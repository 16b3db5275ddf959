"""Files over HTTP: what goes in comes out, by bounds, by key, and never by a path of the client's."""

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from service.keys import new_key
from tests.service.api.client import Api

FILES = "/v1/files"
LINE = b'{"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {}}\n'


def upload(api: Api, content: bytes = LINE, name: str = "requests.jsonl", **fields: str) -> httpx.Response:
    return api.post(FILES, files={"file": (name, content)}, data={"purpose": "batch", **fields})


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Api]]:
    """An application without models."""
    made: list[Api] = []
    (tmp_path / "store").mkdir()

    def make(**settings: object) -> Api:
        made.append(Api(tmp_path / "store", **settings))
        return made[-1]

    yield make
    for api in made:
        api.close()


@pytest.fixture
def api(make: Callable[..., Api], tmp_path: Path) -> Api:
    return make(batch_dir=tmp_path / "batches", batch_file_bytes=300_000, batch_storage_mb=1, batch_files=5)


def test_what_is_uploaded_comes_back(api: Api) -> None:
    content = bytes(range(256)) * 1000
    made = upload(api, content, 'ünï "x".jsonl').json()
    assert re.fullmatch(r"file-[0-9a-f]{24}", made["id"])
    assert made | {"id": "", "created_at": 0, "expires_at": 0} == {
        "id": "",
        "object": "file",
        "bytes": len(content),
        "created_at": 0,
        "expires_at": 0,
        "filename": made["filename"],
        "purpose": "batch",
        "status": "processed",
        "status_details": None,
    }
    assert made["filename"].startswith("ünï")
    assert made["expires_at"] - made["created_at"] == 30 * 86_400
    assert api.get(f"{FILES}/{made['id']}").json() == made
    answer = api.get(f"{FILES}/{made['id']}/content")
    assert answer.content == content
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")


def test_it_may_expire_sooner(api: Api) -> None:
    wish = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    made = upload(api, **wish).json()
    assert made["expires_at"] - made["created_at"] == 3600
    assert upload(api, **(wish | {"expires_after[seconds]": "10"})).status_code == 422
    assert upload(api, **{"expires_after[seconds]": "3600"}).status_code == 422, "after what?"


def test_they_are_listed_in_pages(api: Api) -> None:
    made = [upload(api).json() for _ in range(3)]
    first = api.get(FILES, params={"limit": 2}).json()
    assert (first["object"], first["has_more"]) == ("list", True)
    assert first["data"] == made[:0:-1]
    assert (first["first_id"], first["last_id"]) == (made[2]["id"], made[1]["id"])
    rest = api.get(FILES, params={"limit": 2, "after": first["last_id"]}).json()
    assert (rest["data"], rest["has_more"]) == (made[:1], False)
    assert api.get(FILES, params={"order": "asc"}).json()["data"] == made
    assert api.get(FILES, params={"purpose": "batch_output"}).json()["data"] == []
    assert api.get(FILES, params={"after": "file-none"}).status_code == 404
    for wrong in ({"limit": "0"}, {"limit": "many"}, {"order": "random"}, {"beside": "1"}):
        assert api.get(FILES, params=wrong).status_code == 422


def test_one_that_is_deleted_is_gone_from_the_disk_too(api: Api, tmp_path: Path) -> None:
    made = upload(api).json()
    assert (tmp_path / "batches/files" / made["id"]).exists()
    answer = api.run(api.send("DELETE", f"{FILES}/{made['id']}"))
    assert answer.json() == {"id": made["id"], "object": "file", "deleted": True}
    assert not (tmp_path / "batches/files" / made["id"]).exists()
    assert api.get(f"{FILES}/{made['id']}").status_code == 404
    assert api.run(api.send("DELETE", f"{FILES}/{made['id']}")).status_code == 404


@pytest.mark.parametrize("name", ["..%2f..%2fbatches.sqlite3", "%2e%2e", "file-", "lock", "file-%00", "a%2fcontent"])
def test_no_path_leads_out(api: Api, name: str) -> None:
    for path in (f"{FILES}/{name}", f"{FILES}/{name}/content"):
        answer = api.get(path)
        assert answer.status_code == 404
        assert b"SQLite" not in answer.content


def test_bounds_are_kept_and_nothing_of_what_was_refused_stays(api: Api, tmp_path: Path) -> None:
    answer = upload(api, b"x" * 300_001)
    assert (answer.status_code, answer.json()["error"]["param"]) == (413, "file")
    assert "AMOSTRA_BATCH_FILE_BYTES" in answer.json()["detail"]
    assert [upload(api, b"x" * 300_000).status_code for _ in range(4)] == [200, 200, 200, 413]
    assert "AMOSTRA_BATCH_STORAGE_MB" in upload(api, b"x" * 200_000).json()["detail"]
    assert [upload(api).status_code for _ in range(3)] == [200, 200, 429]
    assert "AMOSTRA_BATCH_FILES" in upload(api).json()["detail"]
    assert list((tmp_path / "batches/incoming").iterdir()) == []
    assert len(list((tmp_path / "batches/files").iterdir())) == 5


def test_bounds_hold_for_uploads_at_the_same_time(api: Api, tmp_path: Path) -> None:
    asked = {"method": "POST", "path": FILES, "data": {"purpose": "batch"}}
    answers = api.together([asked | {"files": {"file": ("a", b"x" * 250_000)}} for _ in range(12)])
    assert {answer.status_code for answer in answers} <= {200, 413, 429}
    assert sum(answer.status_code == 200 for answer in answers) <= 4
    assert sum(path.stat().st_size for path in (tmp_path / "batches/files").iterdir()) <= 2**20
    assert upload(api, b"x").status_code == 200


@pytest.mark.parametrize(
    ("request_", "status", "param"),
    [
        ({"json": {}}, 415, None),
        ({"data": {"purpose": "batch"}}, 415, None),
        ({"content": b"", "headers": {"content-type": "multipart/form-data"}}, 400, None),
        ({"content": b"nothing", "headers": {"content-type": "multipart/form-data; boundary=x"}}, 400, None),
        ({"files": {"purpose": (None, "batch")}}, 422, "file"),
        ({"files": {"file": ("a", b"x")}}, 422, "purpose"),
        ({"files": {"file": ("a", b"x")}, "data": {"purpose": "fine-tune"}}, 422, "purpose"),
        ({"files": {"file": ("a", b"x")}, "data": {"purpose": "batch", "beside": "1"}}, 422, "beside"),
        ({"files": {"image": ("a", b"x")}, "data": {"purpose": "batch"}}, 422, "file"),
        ({"files": [("file", ("a", b"x")), ("file", ("b", b"y"))], "data": {"purpose": "batch"}}, 422, "file"),
        ({"files": {"file": ("a", b"x")}, "data": {"purpose": "b" * 5000}}, 413, "purpose"),
    ],
)
def test_what_is_no_upload_is_refused(api: Api, request_: dict, status: int, param: str | None) -> None:
    answer = api.post(FILES, **request_)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param), answer.text
    assert api.get(FILES).json()["data"] == []


def test_an_upload_that_is_cut_off_leaves_nothing(api: Api, tmp_path: Path) -> None:
    head = b'--x\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
    answer = api.post(FILES, content=head + b"half", headers={"content-type": "multipart/form-data; boundary=x"})
    assert answer.status_code == 400
    assert list((tmp_path / "batches/incoming").iterdir()) == list((tmp_path / "batches/files").iterdir()) == []


def test_a_key_sees_its_own_files_only(make: Callable[..., Api], tmp_path: Path) -> None:
    keys = {name: new_key() for name in ("day", "night")}
    (tmp_path / "keys.toml").write_text(
        "".join(f'[{name}]\nsha256 = "{digest}"\n' for name, (_, digest) in keys.items())
    )
    api = make(batch_dir=tmp_path / "batches", keys_file=tmp_path / "keys.toml")
    day, night = ({"authorization": f"Bearer {key}"} for key, _ in keys.values())
    made = api.post(FILES, files={"file": ("a", LINE)}, data={"purpose": "batch"}, headers=day).json()
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        answer = api.run(api.send(method, f"{FILES}/{made['id']}{path}", headers=night))
        assert answer.status_code == 404
    assert api.get(FILES, headers=night).json()["data"] == []
    assert api.get(FILES, headers=day).json()["data"] == [made]
    batch = {"input_file_id": made["id"], "endpoint": "/v1/completions", "completion_window": "24h"}
    assert api.post("/v1/batches", json=batch, headers=night).status_code == 404


def test_without_a_directory_they_are_off(make: Callable[..., Api]) -> None:
    api = make()
    for method, path in (
        ("GET", FILES),
        ("POST", FILES),
        ("GET", f"{FILES}/a/content"),
        ("POST", "/v1/batches/a/cancel"),
    ):
        answer = api.run(api.send(method, path))
        assert answer.status_code == 404
        assert "AMOSTRA_BATCH_DIR" in answer.json()["detail"]


def test_a_large_upload_is_never_in_memory(make: Callable[..., Api], tmp_path: Path) -> None:
    """Pieces are on the disk as they come."""
    api = make(batch_dir=tmp_path / "batches")
    seen: list[int] = []

    async def form():
        yield b'--x\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(40):
            yield b"y" * 100_000
            await asyncio.sleep(0)
            seen.extend(path.stat().st_size for path in (tmp_path / "batches/incoming").iterdir())
        yield b'\r\n--x\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--x--\r\n'

    answer = api.post(FILES, content=form(), headers={"content-type": "multipart/form-data; boundary=x"})
    assert answer.json()["bytes"] == 4_000_000
    assert seen == sorted(seen)
    assert sum(0 < size < 4_000_000 for size in seen) > 20
