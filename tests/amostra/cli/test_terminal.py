"""Pictures in terminals, and no escape code where there is none."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from amostra.cli import terminal

COLOUR = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
IMAGE = np.linspace(0, 1, 5 * 6, dtype=np.float32).reshape(1, 5, 6)


class Screen(io.StringIO):
    """A terminal, or not."""

    def __init__(self, tty: bool = True, encoding: str = "utf-8") -> None:
        super().__init__()
        self._tty, self._encoding = tty, encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return self._tty


@pytest.mark.parametrize(
    ("environment", "way"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-ghostty"}, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "iterm"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "iterm"),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}, "iterm"),
        (COLOUR, "blocks"),
        ({"TERM": "xterm-direct"}, "blocks"),
        ({**COLOUR, "TERM": "tmux-256color", "TMUX": "/tmp/tmux", "KITTY_WINDOW_ID": "1"}, "blocks"),
        ({"TERM": "xterm-256color"}, None),
        ({"TERM": "dumb", "COLORTERM": "truecolor"}, None),
        ({**COLOUR, "NO_COLOR": ""}, None),
        ({}, None),
    ],
)
def test_it_shows_what_the_terminal_says_it_can(environment: dict[str, str], way: str | None) -> None:
    assert terminal.protocol(Screen(), environment) == way
    assert terminal.protocol(Screen(tty=False), environment) is None


def test_half_blocks_need_unicode() -> None:
    assert terminal.protocol(Screen(encoding="latin-1"), COLOUR) is None
    assert terminal.protocol(Screen(encoding="UTF-8"), COLOUR) == "blocks"


def test_half_blocks_are_the_pixels() -> None:
    lines = terminal.draw(IMAGE, "blocks", 80).splitlines()
    assert len(lines) == 3
    levels = [*np.rint(IMAGE[0] * 255).astype(int).tolist(), [0] * 6]
    for i, line in enumerate(lines):
        assert line.endswith("\x1b[0m")
        cells = re.findall(r"\x1b\[38;2;(\d+);(\d+);(\d+);48;2;(\d+);(\d+);(\d+)m▀", line)
        assert [int(cell[0]) for cell in cells] == levels[2 * i]
        assert [int(cell[5]) for cell in cells] == levels[2 * i + 1]


def test_what_is_too_wide_is_made_smaller() -> None:
    lines = terminal.draw(np.zeros((3, 100, 200)), "blocks", 50).splitlines()
    assert [line.count("▀") for line in lines] == [50] * 13


def test_kitty_and_iterm_get_a_png_large_enough_to_be_seen() -> None:
    kitty = terminal.draw(np.random.default_rng(1).uniform(size=(1, 64, 64)), "kitty", 80)
    parts = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", kitty)
    assert parts[0][0] == "f=100,a=T,m=1"
    assert [head for head, _ in parts[1:]] == ["m=1"] * (len(parts) - 2) + ["m=0"]
    assert max(len(text) for _, text in parts) <= 4096
    iterm = re.fullmatch(r"\x1b]1337;File=inline=1;size=(\d+):(.*)\x07\n", terminal.draw(IMAGE, "iterm", 80))
    assert iterm is not None
    for text, side in (("".join(text for _, text in parts), 64 * 6), (iterm[2], 6 * 66)):
        picture = Image.open(io.BytesIO(base64.b64decode(text)))
        assert picture.format == "PNG"
        assert picture.width == side
    assert int(iterm[1]) == len(base64.b64decode(iterm[2]))
