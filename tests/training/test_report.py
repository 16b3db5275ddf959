"""The page about all models is whole, and says what the manifests say."""

import shutil
from html.parser import HTMLParser

import pytest

from contract import read_manifest, write_manifest
from contract.manifest import Measurement
from training.__main__ import main
from training.evaluate import table


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


FIGURES = tuple(
    Measurement(metric=name, value=value, unit="%", data="<toy>", size=7, seed=3, note="a & b", judge="0" * 64)
    for name, value in (("first", 12.3456), ("second", 2), ("third", 3), ("fourth", 4))
)


@pytest.fixture
def measured(store):
    directory = store / "mnist-contrastive" / "1"  # it comes with a sheet
    write_manifest(directory, read_manifest(directory).model_copy(update={"evaluation": FIGURES}))
    return store


def test_every_model_is_on_the_page_with_its_figures_and_its_picture(measured, tmp_path, capsys):
    assert main(["report", "--exported", str(measured), "--output", f"{tmp_path}/report/index.html"]) == 0
    page = Page((tmp_path / "report" / "index.html").read_text(encoding="utf-8"))
    names = [read_manifest(path.parent).name for path in sorted(measured.glob("*/*/manifest.json"))]
    assert [attributes["id"] for tag, attributes in page.tags if tag == "section"] == names
    pictures = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == 1
    assert pictures[0].startswith("data:image/png;base64,iVBOR")
    for figure in FIGURES:
        assert figure.metric in page.text
    assert "12.35 %" in page.text
    assert "<toy>" in page.text
    assert not [
        a for _, attributes in page.tags for a in ("src", "href") if (attributes.get(a) or "").startswith("http")
    ]
    assert f"{len(names)} models" in capsys.readouterr().out


def test_a_report_of_nothing_is_refused(tmp_path, capsys):
    assert main(["report", "--exported", str(tmp_path), "--output", str(tmp_path / "index.html")]) == 2
    assert "expected models in" in capsys.readouterr().err
    assert main(["report", "--train.steps", "3"]) == 2
    assert "expected no overrides" in capsys.readouterr().err


def test_the_table_has_a_row_for_each_model_with_its_first_figures(measured):
    shutil.rmtree(measured / "photo-denoiser")
    rows = table(measured).splitlines()
    assert len(rows) == 2 + len(list(measured.glob("*/*/manifest.json")))
    (row,) = [row for row in rows if "`mnist-contrastive`" in row]
    assert "| first 12.35 %; second 2 %; third 3 % |" in row
    assert row.count("|") == rows[0].count("|")
