"""What holds for every panel: accessibility, phones, speed, stillness, silence."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.steps import Open, panel, says

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
PANELS = {
    "draw": "pictures in",
    "clean": "models done",
    "score": "31 scored",
    "score?model=pendigits-scores": "12 scored",
    "score?model=shakespeare-gpt": "5 scored",
    "write?tokens=60": "Ready.",
    "map?n=50": "50 pictures",
}
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
MEASURE = """
window.shifts = [];
new PerformanceObserver((list) => shifts.push(...list.getEntries().filter((e) => !e.hadRecentInput).map((e) => e.value)))
  .observe({type: "layout-shift", buffered: true});
"""


@pytest.fixture(scope="module")
def axe() -> str:
    """The source of axe-core, as axe-playwright-python brings it."""
    found = find_spec("axe_playwright_python")
    if found is None or found.origin is None:
        pytest.skip("needs axe-playwright-python: make browser-test installs it")
    return (Path(found.origin).parent / "axe.min.js").read_text(encoding="utf-8")


def violations(page: "Page", axe: str) -> list[str]:
    page.evaluate(axe)
    found = page.evaluate("async () => (await axe.run()).violations")
    return [f"{v['id']}: {[n['html'] for n in v['nodes']][:3]}" for v in found]


def open_everything(page: "Page") -> None:
    closed = panel(page).locator("details:not([open]) > summary")
    while closed.count():
        closed.first.click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("place", PANELS)
def test_axe_finds_nothing(open_page: Open, axe: str, place: str, scheme: str) -> None:
    page = open_page(place, color_scheme=scheme)
    says(page, PANELS[place])
    if place.startswith("write"):
        page.get_by_role("button", name="Write", exact=True).click()
        says(page, "Written.")
    open_everything(page)
    if place == "draw":
        panel(page).locator(".tile").first.click()
        panel(page).locator(".axes .plate img").wait_for()
    assert violations(page, axe) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_dialogs_and_notices(open_page: Open, axe: str, scheme: str) -> None:
    page = open_page("clean", lambda page: page.route("**/v1/images/**", lambda r: r.abort()), color_scheme=scheme)
    page.locator("#notice").get_by_text("The service does not answer").wait_for()
    assert violations(page, axe) == []
    page.locator("#key-button").click()
    assert violations(page, axe) == []
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Draw by hand").click()
    assert violations(page, axe) == []


@pytest.mark.parametrize("place", PANELS)
def test_a_phone_scrolls_one_way_only(open_page: Open, place: str) -> None:
    page = open_page(place, **PHONE)
    says(page, PANELS[place])
    open_everything(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.locator("meta[name=viewport]").count() == 1


@pytest.mark.parametrize("place", PANELS)
def test_it_is_painted_at_once_and_does_not_jump(open_page: Open, place: str) -> None:
    page = open_page(place, lambda page: page.add_init_script(MEASURE))
    says(page, PANELS[place])
    page.wait_for_timeout(300)  # for what comes late, such as the card's picture
    painted = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    shift = page.evaluate("shifts.reduce((a, b) => a + b, 0)")
    print(f"{place}: first paint {painted:.0f} ms, layout shift {shift:.4f}")
    assert painted < 1000
    assert shift < 0.01


def test_tabs_by_keyboard(open_page: Open) -> None:
    page = open_page("draw?n=1")
    says(page, "1 picture in")
    page.get_by_role("tab", name="Draw").focus()
    for key, name in (
        ("ArrowRight", "Clean"),
        ("End", "Map"),
        ("ArrowRight", "Draw"),
        ("ArrowLeft", "Map"),
        ("Home", "Draw"),
    ):
        page.keyboard.press(key)
        assert page.locator("[role=tab][aria-selected=true]").inner_text() == name
        assert page.evaluate("document.activeElement.textContent") == name
    assert page.url.endswith("#draw?n=1")
    assert page.locator("[role=tabpanel]:not([hidden])").count() == 1


def test_dark_and_light_by_the_button(open_page: Open) -> None:
    page = open_page("write", color_scheme="light")
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    page.get_by_role("button", name="Dark or light").click()
    dark = page.evaluate(colour)
    assert dark != light
    page.reload()
    assert page.evaluate(colour) == dark


def test_nothing_comes_from_another_host(open_page: Open, served: str) -> None:
    asked: list[str] = []
    page = open_page("draw", lambda page: page.on("request", lambda request: asked.append(request.url)))
    says(page, "pictures in")
    for name in ("Clean", "Score", "Write", "Map"):
        page.get_by_role("tab", name=name).click()
        page.wait_for_timeout(300)
    assert len(asked) > 20
    assert [url for url in asked if not url.startswith((served, "blob:", "data:"))] == []
