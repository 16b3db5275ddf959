"""A slow server and a failing one: the page says so in plain words, and stays usable."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.browser.steps import Open, panel, says
from tests.e2e.server import ROOT, Server

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

pytestmark = pytest.mark.browser


def problem(status: int, code: str, detail: str, **headers: str) -> dict[str, Any]:
    """An answer as the service gives it."""
    body = {"status": status, "detail": detail, "instance": "urn:amostra:request:r1", "error": {"code": code}}
    kind = {"content-type": "application/problem+json"}
    return {"status": status, "body": json.dumps(body), "headers": kind | headers}


def failing(pattern: str, times: int, fail: Callable[["Route"], None]) -> Callable[["Page"], None]:
    """The first requests of a route fail; what comes after goes through."""
    left = [times]

    def handle(route: "Route") -> None:
        left[0] -= 1
        if left[0] >= 0:
            fail(route)
        else:
            route.continue_()

    return lambda page: page.route(pattern, handle)


@pytest.mark.parametrize(
    ("fail", "words"),
    [
        (lambda r: r.fulfill(**problem(503, "not_ready", "mnist-gan is being loaded")), "Mnist-gan is being loaded."),
        (lambda r: r.fulfill(**problem(500, "internal_error", "it broke")), "Request r1"),
        (lambda r: r.fulfill(status=502, body="<html>Bad gateway</html>"), "The service is not there"),
        (lambda r: r.abort(), "The service does not answer"),
        (
            lambda r: r.fulfill(
                status=200,
                content_type="text/event-stream",
                body='event: error\ndata: {"status": 504, "detail": "too slow", "error": {}}\n\n',
            ),
            "It took too long",
        ),
    ],
    ids=["503", "500", "gateway", "network", "in a stream"],
)
def test_a_failure_is_told_and_can_be_tried_again(open_page: Open, fail: Callable[["Route"], None], words: str) -> None:
    page = open_page("draw?n=1", failing("**/v1/images/generations", 1, fail))
    notice = page.locator("#notice")
    notice.get_by_text(words).wait_for()
    assert notice.get_attribute("role") == "alert"
    notice.get_by_role("button", name="Try again").click()
    says(page, "1 picture in")
    assert notice.is_hidden()


def test_a_busy_server_says_when_to_come_back(open_page: Open) -> None:
    busy = problem(429, "overloaded", "the queue of mnist-gan is full", **{"retry-after": "2"})
    page = open_page("draw?n=1", failing("**/v1/images/generations", 1, lambda route: route.fulfill(**busy)))
    button = page.locator("#notice").get_by_role("button", name="Try again in")
    button.wait_for()
    assert button.is_disabled()
    page.locator("#notice button:enabled", has_text="Try again").click(timeout=5000)
    says(page, "1 picture in")


def test_what_the_service_refuses_is_said_in_its_own_words(open_page: Open) -> None:
    page = open_page("score?model=pendigits-scores")
    says(page, "12 scored")
    page.get_by_label("Rows as CSV").fill("x0,x1\n1,2")
    page.get_by_role("button", name="Score", exact=True).click()
    page.locator("#notice").get_by_text("The service cannot do this").wait_for()
    assert "x2" in page.locator("#notice").inner_text()
    page.locator("#notice").get_by_role("button", name="Dismiss").click()
    page.get_by_role("tab", name="Draw").click()
    says(page, "pictures in")


def test_a_list_of_models_that_does_not_come(open_page: Open) -> None:
    page = open_page("map?n=50", failing("**/v1/models", 1, lambda route: route.abort()))
    page.locator("#notice").get_by_text("The service does not answer").wait_for()
    page.locator("#notice").get_by_role("button", name="Try again").click()
    says(page, "50 pictures")


def test_slow_work_is_seen_and_can_be_stopped(open_page: Open) -> None:
    held: list[Route] = []
    page = open_page("draw?n=2", lambda page: page.route("**/v1/images/generations", lambda route: held.append(route)))
    panel(page).get_by_text("Drawing … 1 s").wait_for()
    for route in held:
        route.continue_()
    says(page, "2 pictures in")
    page.get_by_role("button", name="Draw", exact=True).click()
    panel(page).get_by_text("Drawing … 1 s").wait_for()
    panel(page).get_by_role("button", name="Stop").first.click()
    says(page, "Stopped.")
    assert page.locator("#notice").is_hidden()
    page.unroute("**/v1/images/generations")
    page.get_by_role("button", name="Draw", exact=True).click()
    says(page, "2 pictures in")


def test_a_key_where_the_service_asks_for_one(open_page: Open, tmp_path: Path) -> None:
    key = "amostra-" + "k" * 43
    (tmp_path / "keys.toml").write_text(f'[me]\nsha256 = "{hashlib.sha256(key.encode()).hexdigest()}"\n')
    server = Server(ROOT / "exported", tmp_path, {"AMOSTRA_KEYS_FILE": str(tmp_path / "keys.toml")})
    try:
        server.start()
        server.until("/readyz", 200)
        assert httpx.get(server.url + "/v1/models").status_code == 401
        page = open_page()
        page.goto(f"{server.url}/playground/#draw?n=2")
        page.locator("#notice").get_by_text("This service asks for a key").wait_for()
        page.get_by_role("button", name="Enter a key").click()
        page.get_by_label("Key", exact=True).fill(key)
        page.get_by_role("button", name="Use it").click()
        says(page, "2 pictures in")
        assert key not in page.content()
        assert "$AMOSTRA_KEY" in panel(page).locator(".code code").inner_text()
        assert page.evaluate("localStorage.length") == 0
        server.terminate()
    finally:
        server.kill()
