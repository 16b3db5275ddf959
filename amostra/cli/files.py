"""Files and texts of a command line as what can be scored or embedded: pictures together, each table alone, texts together."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from amostra.sent import CSV, NPY, Items, Pictures, picture


@dataclass(frozen=True)
class Group:
    """What goes into one request: its items, and their name for people; `{}` stands for an item's number."""

    items: Items
    names: tuple[str, ...]
    pictures: Pictures | None = None
    """The items, where they are such."""

    def name(self, i: int) -> str:
        """That of one item."""
        return self.names[i] if len(self.names) > 1 or not self.names[0].endswith("{}") else self.names[0].format(i)


def groups(asked: argparse.Namespace) -> Iterator[Group]:
    """Raises OSError, ValueError."""
    images: list[Path] = []
    texts: list[tuple[str, str]] = [(text, repr(text[:32])) for text in asked.text]
    for path in map(Path, asked.files):
        blob, kind = picture(path, CSV if path.suffix.lower() == ".csv" else "text/plain")
        if kind == "text/plain":
            try:
                texts.append((blob.decode(), str(path)))
            except UnicodeDecodeError as error:
                raise ValueError(f"{path}: expected a picture, a table or UTF-8 text, found {blob[:8]!r}") from error
        elif kind == NPY:
            yield _array(path)
        elif kind.startswith("image/"):
            images.append(path)
        else:
            yield Group(blob, (f"{path}:{{}}",))
    if images:
        yield Group(images, tuple(map(str, images)), images)
    if texts:
        yield Group([text for text, _ in texts], tuple(name for _, name in texts))
    if not asked.files and not asked.text:
        raise ValueError("expected files or --text, found neither: say what")


def _array(path: Path) -> Group:
    array = np.load(path, allow_pickle=False)
    return Group(array, (f"{path}:{{}}",), array if array.ndim > 2 else None)
