"""A browser at the playground of a real server with the models of this repository.

    make browser-test

Skipped where Playwright or Chromium is not installed.
"""

import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.server import ROOT, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PATIENCE_MS = 30_000
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="package")
def browser() -> Iterator["Browser"]:
    """Chromium, as the system brings it. Of this package only: Playwright keeps an event loop running."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: make browser-test installs it")
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        pytest.skip("needs Chromium: apt-get install --no-install-recommends chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def served(browser: "Browser", tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the service."""
    with serving(ROOT / "exported", tmp_path_factory.mktemp("playground")) as url:
        yield url


@pytest.fixture
def open_page(browser: "Browser", served: str) -> Iterator[Callable[..., "Page"]]:
    """Opens a page of its own at a panel: `open_page("draw?n=4", viewport={…})`. No page may complain."""
    contexts, complaints = [], []

    def open_it(place: str = "", before: Callable[["Page"], None] = lambda page: None, **context: Any) -> "Page":
        contexts.append(browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **context}))
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        before(page)
        page.goto(f"{served}/playground/#{place}")
        return page

    yield open_it
    for context in contexts:
        context.close()
    # What Chromium itself says of an answer that is none is not ours.
    assert [text for text in complaints if not text.startswith("Failed to load resource")] == []
