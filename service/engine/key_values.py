"""Keys and values of the rows of a text graph, in the CPU's memory."""

from typing import Protocol

import numpy as np
import onnxruntime as ort

TYPES: dict[str, np.dtype] = {"tensor(float)": np.dtype(np.float32), "tensor(float16)": np.dtype(np.float16)}

Caches = dict[str, np.ndarray]
"""Keys and values by the graph's names of them, [rows, H_kv, cache, E]."""

Shapes = dict[str, tuple[int, int, np.dtype]]
"""Heads, elements of each and their type, by the graph's names of its keys and values."""


def shapes_of(session: ort.InferenceSession) -> Shapes:
    """What a graph keeps of each token. Raises KeyError or TypeError where heads and elements have no fixed numbers."""
    shapes: Shapes = {}
    for port in session.get_inputs():
        if port.name.startswith("past_key_values."):
            heads, width = port.shape[1], port.shape[3]
            if not isinstance(heads, int) or not isinstance(width, int):
                raise TypeError(f"{port.name} of {heads} heads of {width}")
            shapes[port.name] = heads, width, TYPES[port.type]
    return shapes


def bytes_per_row(session: ort.InferenceSession, context: int) -> int:
    """Memory of one row's keys and values. Raises as shapes_of does."""
    shapes = shapes_of(session).values()
    return sum(heads * context * width * kind.itemsize for heads, width, kind in shapes)


class KeyValues(Protocol):
    """The keys and values of all rows."""

    @property
    def nbytes(self) -> int: ...
    def swap(self, a: int, b: int, upto: int) -> None:
        """Exchange those of the first `upto` tokens of two rows."""


class HostKeyValues:
    """In arrays, which whoever runs the graph binds or reads."""

    def __init__(self, session: ort.InferenceSession, rows: int, context: int) -> None:
        self.arrays: Caches = {
            name: np.zeros((rows, heads, context, width), kind)
            for name, (heads, width, kind) in shapes_of(session).items()
        }

    @property
    def nbytes(self) -> int:
        """Of all rows."""
        return sum(array.nbytes for array in self.arrays.values())

    def swap(self, a: int, b: int, upto: int) -> None:
        """Exchange those of the first `upto` tokens of two rows."""
        for array in self.arrays.values():
            array[[a, b], :, :upto] = array[[b, a], :, :upto]
