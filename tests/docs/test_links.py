"""No link of any page leads nowhere: files, headings, and the form of addresses elsewhere."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.docs.pages import ROOT, anchors, links, pages

HOST = re.compile(r"^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}$")


def problem(page: Path, target: str) -> str | None:
    """What is wrong with a link on a page."""
    parts = urlsplit(target)
    if parts.scheme:
        sound = parts.scheme == "https" and HOST.match(parts.netloc) and "%20" not in target
        return None if sound else "expected https:// and a host"
    path = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not path.is_relative_to(ROOT):
        return "leads out of the repository"
    if not path.exists():
        return "no such file"
    if parts.fragment and parts.fragment not in (anchors(path) if path.suffix == ".md" else ()):
        return f"no such heading in {path.relative_to(ROOT)}"
    return None


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    wrong = [f"line {line}: {target}: {said}" for line, target in links(page) if (said := problem(page, target))]
    assert not wrong, "\n".join(wrong)


def test_every_page_of_the_documentation_can_be_found_from_its_index() -> None:
    seen: set[Path] = set()
    waiting = [ROOT / "docs/README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        targets = (urlsplit(target) for _, target in links(page))
        waiting += [(page.parent / unquote(t.path)).resolve() for t in targets if t.path and not t.scheme]
    assert set((ROOT / "docs").rglob("*.md")) <= seen


def test_every_picture_of_the_documentation_is_shown_somewhere_and_small() -> None:
    shown = {(p.parent / t).resolve() for p in pages() for _, t in links(p) if not urlsplit(t).scheme}
    scripts = "".join(p.read_text("utf-8") for p in pages())
    for picture in (ROOT / "docs/pictures").glob("*.png"):
        assert picture in shown or picture.name in scripts, f"{picture.name} is shown nowhere"
        assert picture.stat().st_size <= 60_000, f"{picture.name} has {picture.stat().st_size} bytes"


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("docs/no-such-page.md", "no such file"),
        ("../../etc/passwd", "leads out"),
        ("docs/architecture.md#no-such-heading", "no such heading"),
        ("#no-such-heading", "no such heading"),
        ("http://example.com/", "expected https"),
        ("https://localhost/", "expected https"),
    ],
)
def test_the_checker_sees_what_is_wrong(target: str, says: str) -> None:
    assert says in (problem(ROOT / "README.md", target) or "")


def test_the_checker_reads_links_and_anchors_as_github_does(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# The `x_t` of *denoise*: what?\n## Twice\n## Twice\n[a](b.md) and ![c](d.png)\n`[no](code.md)`\n"
        "[`code`](e.md#f)\n```text\n[no](fence.md)\n# no heading\n```\n[g](https://h.org/i_(j))\n"
    )
    assert anchors(page) == {"the-x_t-of-denoise-what", "twice", "twice-1"}
    assert [target for _, target in links(page)] == ["b.md", "d.png", "e.md#f", "https://h.org/i_(j)"]
