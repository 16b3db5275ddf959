"""The playground's files: what leads to them, how they are sent, and what a browser may do with them."""

import gzip
import re
from pathlib import Path

import pytest

from service.api import playground
from tests.service.api.client import Api

FILES = sorted(path for path in playground.FOLDER.rglob("*") if path.is_file())
MAX_BYTES = 300_000


def name_of(path: Path) -> str:
    return path.relative_to(playground.FOLDER).as_posix()


@pytest.mark.parametrize("path", ["/", "/playground"])
def test_the_root_leads_to_it(api: Api, path: str) -> None:
    answer = api.get(path)
    assert answer.status_code == 307
    assert answer.headers["location"] == "playground/"  # relative: a proxy may add a prefix
    page = api.get(path, follow_redirects=True)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "<title>Amostra playground</title>" in page.text


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_file_is_served_as_what_it_is(api: Api, path: Path) -> None:
    answer = api.get(f"/playground/{name_of(path)}")
    assert answer.status_code == 200
    assert answer.content == path.read_bytes()
    assert answer.headers["content-type"] == playground.MEDIA_TYPES[path.suffix]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_browser_asks_again_and_is_told_that_nothing_changed(api: Api) -> None:
    for encoding in ("identity", "gzip"):
        headers = {"accept-encoding": encoding}
        first = api.get("/playground/main.js", headers=headers)
        assert first.headers["cache-control"] == "no-cache"
        assert first.headers["vary"] == "accept-encoding"
        assert first.headers.get("content-encoding", "identity") == encoding
        again = api.get("/playground/main.js", headers=headers | {"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
        other = api.get("/playground/dom.js", headers=headers | {"if-none-match": first.headers["etag"]})
        assert other.status_code == 200


def test_the_policy_allows_nothing_inline_and_no_other_host(api: Api) -> None:
    page = api.get("/playground/")
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in page.headers["content-security-policy"]
    assert "content-security-policy" not in api.get("/docs").headers  # whose page has a script in it
    html = page.text
    assert not re.search(r"<script(?![^>]*\bsrc=)|\bstyle=|\son\w+=|<style", html)


def test_nothing_refers_to_another_host() -> None:
    for path in FILES:
        if path.suffix in (".js", ".css", ".html"):
            text = re.sub(r"^\s*(//|\*|/\*).*$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
            hosts = re.findall(r"(?:https?:)?//[a-z0-9-]+\.[a-z]+[^\s\"'`]*", text)
            assert [host for host in hosts if "www.w3.org" not in host] == [], path.name  # a namespace is no address


def test_it_is_small() -> None:
    plain = sum(path.stat().st_size for path in FILES)
    small = sum(len(gzip.compress(path.read_bytes())) for path in FILES)
    assert plain < MAX_BYTES
    assert small < plain / 2


def test_every_import_leads_to_a_file() -> None:
    for path in FILES:
        if path.suffix == ".js":
            for target in re.findall(r"(?:from |import\()\"(\.[^\"]+)\"", path.read_text(encoding="utf-8")):
                assert (path.parent / target).resolve() in FILES, f"{name_of(path)}: {target}"


@pytest.mark.parametrize("path", ["/playground/nothing.js", "/playground/../app.py", "/playground/%2e%2e/app.py"])
def test_what_is_not_there(api: Api, path: str) -> None:
    answer = api.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_it_is_read_only(api: Api) -> None:
    answer = api.post("/playground/main.js", content=b"")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"


def test_its_requests_are_counted_under_one_name(api: Api) -> None:
    api.get("/playground/main.js")
    assert 'route="/playground"' in api.get("/metrics").text
    assert "main.js" not in api.get("/metrics").text
