"""The page of results: one section renewed, everything else left."""

import pytest

from benchmarks import results
from benchmarks.harness import Comparison

FAST = Comparison("decode", "ours", "peer", "rows/s", "higher", [3000, 2400, 2000], [1000, 1000, 1000], bar=2)
SLOW = Comparison("answer", "ours", "peer", "ms", "lower", [1.2], [1.0], bar=1.1)


def test_publishing_again_renews_its_section_and_leaves_the_rest(tmp_path):
    page = tmp_path / "RESULTS.md"
    results.publish("first", "What the first does.", [SLOW], {"numpy": "2"}, path=page)
    results.publish("second", "What the second does.", [FAST], {"numpy": "2"}, path=page)
    page.write_text(page.read_text() + "\nWritten by hand.\n")
    results.publish("first", "Something else.", [FAST], {"numpy": "3"}, notes=["A remark."], path=page)

    text = page.read_text()
    assert text.startswith("# Benchmarks")
    assert text.count("<!-- first: begin -->") == text.count("<!-- second: end -->") == 1
    assert "What the first does" not in text
    assert text.index("Something else.") < text.index("- A remark.") < text.index("What the second does.")
    assert text.rstrip().endswith("Written by hand.")


def test_a_section_says_figures_ratio_spread_bar_and_versions(tmp_path):
    page = tmp_path / "RESULTS.md"
    results.publish("speed", "Both.", [FAST, SLOW], {"numpy": "2.4.0"}, path=page)
    text = page.read_text()
    assert "| decode | ours: 2,400 rows/s | peer: 1,000 rows/s | 2.40× (2.00–3.00) | ≥ 2× | yes |" in text
    assert "| answer | ours: 1.2 ms | peer: 1 ms | 1.20× (1.20–1.20) | ≤ 1.1× | **no** |" in text
    assert "numpy 2.4.0" in text
    assert "cores" in text


def test_a_section_says_at_which_commit_and_with_which_graphs_it_was_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(results.stamps, "begin", lambda: "1a2b3c4")
    monkeypatch.setattr(results.stamps, "commit", lambda: "1a2b3c4+")
    page = tmp_path / "RESULTS.md"
    results.publish("speed", "Both.", [FAST], {"numpy": "2"}, graphs={"a/decode.onnx": "0123456789ab"}, path=page)
    results.publish("nothing served", "Both.", [FAST], {"numpy": "2"}, path=page)
    first, second = page.read_text().split("<!-- speed: end -->")
    assert ", commit 1a2b3c4+;\n" in first
    assert first.rstrip().endswith("Graphs: a/decode.onnx 0123456789ab.")
    assert ", commit 1a2b3c4+;\n" in second
    assert "Graphs" not in second


def test_a_section_that_is_not_closed_is_refused_rather_than_eaten(tmp_path):
    with pytest.raises(ValueError, match="put it back"):
        results.renewed("<!-- speed: begin -->\nold\n", "speed", "new")


def test_every_benchmark_takes_rounds_and_quick():
    assert vars(results.parse("What.", 5, [])) == {"rounds": 5, "quick": False}
    assert vars(results.parse("What.", 5, ["--rounds", "2", "--quick"])) == {"rounds": 2, "quick": True}
