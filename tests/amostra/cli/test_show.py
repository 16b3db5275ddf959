"""What a model or a service says is shown, and not obeyed."""

import sys

import pytest

from amostra.cli import show
from tests.amostra.cli.test_terminal import Screen

TRAP = "a\x1b]0;title\x07\tb\n"


@pytest.mark.parametrize(("tty", "shown"), [(True, "a\ufffd]0;title\ufffd\tb\n"), (False, TRAP)])
def test_a_terminal_gets_no_codes_of_others(monkeypatch: pytest.MonkeyPatch, tty: bool, shown: str) -> None:
    """A pipe gets the text as it is."""
    screen = Screen(tty)
    monkeypatch.setattr(sys, "stdout", screen)
    assert show.text(TRAP) == TRAP
    assert screen.getvalue() == shown


def test_an_error_is_one_harmless_line(capsys: pytest.CaptureFixture[str]) -> None:
    show.error("a\nb\x1b[2J")
    assert capsys.readouterr().err == "amostra: a b\ufffd[2J\n"


def test_a_table_leaves_out_what_is_empty_and_ends_at_the_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", "12")
    show.table(("name", "empty", "about"), [("a", "", "x" * 100), ("bcdef", "", "")])
    assert screen.getvalue() == "name   about\na      xxxxx\nbcdef\n"
