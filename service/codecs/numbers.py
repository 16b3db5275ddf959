"""Nested lists of numbers in JSON, read in pieces.

A parser holds the interpreter until it is through: 30 MB of numbers stop every other thread for a third of a second, and
become three million objects. Here the numbers go piece by piece into an array, and the brackets and commas alone tell its
shape.
"""

import re

import numpy as np
import orjson

_PIECE = 65_536
_BEGINNING = re.compile(rb"\s*:\s*(?=\[)")
_OTHER = re.compile(rb"[^0-9eE+\-.,\[\]\s]")
_BRACKETS_TO_SPACES = bytes.maketrans(b"[]", b"  ")
_NUMBERS = b"0123456789eE+-. \t\r\n"


def cut_out(blob: bytes, field: str) -> tuple[bytes, np.ndarray] | None:
    """Take the numbers of a JSON object's field out. Returns the object with null in their place, and the numbers as
    float64 of the lists' shape; None where the field is not there, or is no regular list of numbers."""
    name = b'"' + field.encode() + b'"'
    at = blob.find(name)
    beginning = _BEGINNING.match(blob, at + len(name)) if at >= 0 else None
    # In a text its quotation marks would be escaped.
    if beginning is None or blob[:at].rstrip()[-1:] not in (b"{", b","):
        return None
    start = beginning.end()
    stop = next((m.start() for at in range(start, len(blob), _PIECE) if (m := _OTHER.search(blob, at, at + _PIECE))), 0)
    # A comma before the next field is the object's.
    end = start + len(blob[start:stop].rstrip().removesuffix(b",").rstrip())
    numbers = read(memoryview(blob)[start:end])
    return None if numbers is None else (blob[:start] + b"null" + blob[end:], numbers)


def read(text: memoryview) -> np.ndarray | None:
    """Nested lists of numbers as an array, None where they are none or not regular."""
    parts, skeleton, at = [], [], 0
    while at < len(text):
        piece = bytes(text[at : at + _PIECE])
        if at + _PIECE < len(text):
            piece = piece[: piece.rfind(b",") + 1]
            if not piece:
                return None
        at += len(piece)
        skeleton.append(piece.translate(None, _NUMBERS))
        last = at == len(text)
        flat = piece.translate(_BRACKETS_TO_SPACES) if last else piece[:-1].translate(_BRACKETS_TO_SPACES)
        try:
            parts.append(np.array(orjson.loads(b"[" + flat + b"]"), np.float64))
        except (orjson.JSONDecodeError, OverflowError):
            return None
    flat_array = np.concatenate(parts) if parts else np.zeros(0)
    shape = _shape(b"".join(skeleton))
    if shape is None or np.prod(shape) != len(flat_array):
        return None
    return flat_array.reshape(shape)


def _shape(skeleton: bytes) -> tuple[int, ...] | None:
    """The shape that brackets and commas tell: [[,,],[,,]] is (2, 3); None where rows differ."""
    depth = len(skeleton) - len(skeleton.lstrip(b"["))
    row = skeleton[max(0, depth - 1) : skeleton.find(b"]") + 1]
    shape = [row.count(b",") + 1]
    for level in range(depth - 2, -1, -1):
        count = (skeleton.find(row + b"]", level) - level - 1) // (len(row) + 1) + 1
        row = b"[" + b",".join([row] * count) + b"]"
        shape.insert(0, count)
    return tuple(shape) if depth and row == skeleton else None
