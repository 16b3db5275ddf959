"""What people see: tables, pairs, texts and pictures. Escape codes go to terminals only."""

import argparse
import io
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from amostra import pictures
from amostra.answers import Floats, Images
from amostra.cli import terminal

# A model, or a service, may say things that a terminal would obey.
_HARMLESS = {
    code: "\N{REPLACEMENT CHARACTER}" for code in (*range(32), 127, *range(128, 160)) if chr(code) not in "\n\t"
}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns that line up; empty ones are left out, and in a terminal the last is cut at its edge."""
    kept = [i for i in range(len(head)) if any(row[i] for row in rows)]
    lines = [[row[i] for i in kept] for row in [head, *rows]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    edge = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in lines:
        print(_plain("  ".join(map(str.ljust, line, widths)).rstrip()[:edge]))


def pairs(values: Mapping[str, str | None]) -> None:
    """A line for each that has a value."""
    there = {name: value for name, value in values.items() if value}
    width = max(map(len, there))
    for name, value in there.items():
        print(_plain(f"{name.ljust(width)}  {value}"))


def text(piece: str) -> str:
    """A piece of a text, at once. Returns it."""
    sys.stdout.write(_plain(piece))
    sys.stdout.flush()
    return piece


def error(message: str) -> None:
    """One line on the error stream."""
    print(f"amostra: {' '.join(message.split())}".translate(_HARMLESS), file=sys.stderr)


def _plain(text: str) -> str:
    return text.translate(_HARMLESS) if sys.stdout.isatty() else text


class Outlet:
    """Where pictures go: a file, a pipe, the terminal. Made before they are asked for."""

    def __init__(self, asked: argparse.Namespace) -> None:
        """Raises ValueError where there is no such place."""
        self._path: str | None = asked.output
        self._json: bool = asked.json
        self._way = _way(asked)
        if self._path is None and self._way is None:
            raise ValueError("this is no terminal that shows pictures: say where to with -o FILE (- for a pipe)")

    def put(self, found: Images) -> None:
        """Show and save them, and say what they are."""
        images = found.images
        height, width = images.shape[2:]
        if self._path is not None:
            _save(images, self._path)
        if self._way is not None:
            sheet = pictures.grid(images)
            sys.stdout.write(terminal.draw(sheet, self._way, shutil.get_terminal_size().columns))
        seeds = list(found.seeds) or ([] if found.seed is None else [found.seed])
        about = {"model": found.model, "seeds": seeds, "shape": list(images.shape), "file": self._path}
        saying = sys.stderr if self._path == "-" else sys.stdout
        if self._json:
            print(json.dumps(about), file=saying)
            return
        seed = f", seed {' → '.join(map(str, seeds))}" if seeds else ""
        count = f"{len(images)} pictures" if len(images) > 1 else "1 picture"
        target = f" → {self._path}" if self._path not in (None, "-") else ""
        print(f"{count} of {width} × {height} by {found.model}{seed}{target}", file=saying)


def has_place_for_overlay(asked: argparse.Namespace) -> bool:
    """Whether a picture of where the surprise lies would be saved or seen."""
    return asked.output is not None or _way(asked) is not None


def overlay(blob: bytes, asked: argparse.Namespace) -> None:
    """Save it and show it, where that is wished and possible."""
    if asked.output is not None:
        Path(asked.output).write_bytes(blob)
    way = _way(asked)
    if way is not None:
        sys.stdout.write(terminal.draw(pictures.decode(blob), way, shutil.get_terminal_size().columns))


def _way(asked: argparse.Namespace) -> terminal.Protocol | None:
    """How pictures are shown beside the other output, if they are."""
    return None if asked.json or asked.output == "-" else terminal.protocol(sys.stdout, os.environ)


def _save(images: Floats, path: str) -> None:
    """As an array, or in a grid as a picture of the kind that the name ends in."""
    if path.endswith(".npy"):
        with Path(path).open("wb") as out:
            np.save(out, images)
        return
    sheet = pictures.picture(pictures.grid(images))
    if path != "-":
        sheet.save(path)
        return
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    sys.stdout.buffer.write(stream.getvalue())
