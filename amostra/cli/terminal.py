"""Pictures in a terminal: kitty's or iTerm2's protocol, or two pixels in each character as coloured half blocks."""

import base64
import io
from collections.abc import Mapping
from typing import Any, Literal, TextIO

import numpy as np
from numpy.typing import NDArray

from amostra import pictures

Protocol = Literal["kitty", "iterm", "blocks"]
_KITTY_TERMS = ("xterm-kitty", "xterm-ghostty")
_CHUNK = 4096
_SEEN_WIDTH = 400
"""Pixels to which small pictures are enlarged; 28 would be a speck."""


def protocol(out: TextIO, environment: Mapping[str, str]) -> Protocol | None:
    """How the terminal shows pictures, as far as it says so; None into a pipe, a file or a terminal without colours."""
    term = environment.get("TERM", "")
    if not out.isatty() or term == "dumb" or "NO_COLOR" in environment:
        return None
    if "TMUX" not in environment and not term.startswith("screen"):  # which do not let pictures through
        if "KITTY_WINDOW_ID" in environment or term in _KITTY_TERMS:
            return "kitty"
        if environment.get("TERM_PROGRAM") in ("iTerm.app", "WezTerm") or environment.get("LC_TERMINAL") == "iTerm2":
            return "iterm"
    colours = environment.get("COLORTERM") in ("truecolor", "24bit") or term.endswith("-direct")
    unicode = (out.encoding or "").lower().replace("-", "").startswith("utf")
    return "blocks" if colours and unicode else None


def draw(image: NDArray[Any], way: Protocol, columns: int) -> str:
    """What shows an image (C, H, W) in [0, 1] in a terminal of so many columns."""
    if way == "blocks":
        return _blocks(image, columns)
    picture = pictures.picture(image)
    factor = max(1, _SEEN_WIDTH // picture.width)
    stream = io.BytesIO()
    picture.resize((picture.width * factor, picture.height * factor), 0).save(stream, "PNG")  # 0: nearest
    text = base64.b64encode(stream.getvalue()).decode()
    return _kitty(text) if way == "kitty" else f"\x1b]1337;File=inline=1;size={stream.tell()}:{text}\x07\n"


def _kitty(text: str) -> str:
    parts = [text[at : at + _CHUNK] for at in range(0, len(text), _CHUNK)]
    heads = ["f=100,a=T,", *[""] * (len(parts) - 1)]
    more = [1] * (len(parts) - 1) + [0]
    return "".join(f"\x1b_G{h}m={m};{p}\x1b\\" for h, m, p in zip(heads, more, parts, strict=True)) + "\n"


def _blocks(image: NDArray[Any], columns: int) -> str:
    picture = pictures.picture(image).convert("RGB")
    if picture.width > columns:
        picture = picture.resize((columns, max(1, round(picture.height * columns / picture.width))), 4)  # 4: box
    pixels = np.asarray(picture)
    pixels = np.pad(pixels, ((0, len(pixels) % 2), (0, 0), (0, 0)))  # (H, W, 3), H even
    lines = []
    for upper, lower in zip(pixels[::2].tolist(), pixels[1::2].tolist(), strict=True):
        cells = [f"\x1b[38;2;{a};{b};{c};48;2;{d};{e};{f}m▀" for (a, b, c), (d, e, f) in zip(upper, lower, strict=True)]
        lines.append("".join(cells) + "\x1b[0m\n")
    return "".join(lines)
