"""What the tests of the playground do again and again."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

Open = Callable[..., "Page"]
"""As the fixture `open_page`."""


def panel(page: "Page") -> "Locator":
    """The panel that is looked at."""
    return page.locator("[role=tabpanel]:not([hidden])")


def says(page: "Page", words: str) -> None:
    """Wait until the panel's work has ended and its line of status says so."""
    panel(page).locator(".work > .status[data-busy=false]", has_text=words).wait_for()
