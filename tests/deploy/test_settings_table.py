"""docs/deploy.md tells of every setting."""

from deploy.settings_table import PAGE, renewed, rows
from service.settings import PREFIX, Settings


def test_the_page_has_every_setting_as_it_is() -> None:
    page = PAGE.read_text("utf-8")
    assert renewed(page) == page, "run: python -m deploy.settings_table"


def test_every_setting_has_a_meaning() -> None:
    found = {name: meaning for name, _, meaning in rows()}
    assert set(found) == {PREFIX + name.upper() for name in Settings.model_fields}
    assert all(found.values())
