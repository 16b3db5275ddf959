"""Runs batches of independent rows: stack, pad to a bucket, run with bound memory, split.

A batch of several short runs is cut into runs of the size that is found to be the fastest: larger ones have less around
them, smaller ones stay in the caches.

A batch that has the machine to itself runs on all cores, where that is faster and gives the same bits (width.py).

Batches come in a few fixed sizes, because CUDA graphs need them and a memory arena grows with every new one. Where a
graph's rows are not bit-identical in batches of different sizes, it gets one size only; where only a row alone differs
(matrix products of one row take another path through the kernels), it is never run alone. The loader decides which.
"""

import threading
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnxruntime as ort

from service.engine.batch import Batch, Piece
from service.engine.job import Arrays
from service.engine.sizes import BUCKETS, padded
from service.engine.trials import Trials
from service.engine.width import Widen, Width

if TYPE_CHECKING:
    from service.engine.device import DeviceMemory

_RUN_SIZES = (32, 64, 128, 256)
_KEPT_BINDINGS = 24
_KEPT_TRIALS = 256
KEPT_ELEMENTS = 2**20

NUMPY = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
}


class RowRunner:
    """One stateless graph, run in batches of these sizes.

    `device` is "cpu", or the memory of another device. `widen` makes a session of the same graph with a thread for each core.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        device: "Literal['cpu'] | DeviceMemory",
        buckets: Sequence[int] = BUCKETS,
        widen: Widen | None = None,
    ) -> None:
        self._session = session
        self._width = Width(session, widen)
        self._device = device
        self.sizes = tuple(buckets)
        """The sizes of batches, ascending."""
        self._run_sizes = [size for size in _RUN_SIZES if size in self.sizes] or [self.max_rows]
        self._trials: dict[tuple, Trials] = {}
        self._inputs = {i.name: NUMPY[i.type] for i in session.get_inputs()}
        self._outputs = [o.name for o in session.get_outputs()]
        self._bound: OrderedDict[tuple, list[_Stacked]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def max_rows(self) -> int:
        """The largest batch."""
        return self.sizes[-1]

    def run(self, batch: Batch) -> tuple[list[Arrays], int]:
        """Run a batch. Returns the outputs of each piece, and the rows that were padding."""
        pieces = [_inputs(piece) for piece in batch.pieces]
        if batch.alone and self._width.wanted():
            few = slice(min(batch.lane.at_once, self.max_rows))
            self._width.make({n: pieces[0][n][few].astype(dtype) for n, dtype in self._inputs.items()})
        if batch.rows > batch.lane.at_once:
            return self._run_several(batch, pieces)
        return self._run_parts(batch, pieces, self.max_rows)

    def _run_several(self, batch: Batch, pieces: list[Arrays]) -> tuple[list[Arrays], int]:
        """Run a batch of several runs by the size that is the fastest for one as large as this."""
        key = (batch.lane.key, batch.rows.bit_length())
        trials = self._trials.setdefault(key, Trials(len(self._run_sizes)))
        way = trials.next()
        start = time.monotonic()
        done = self._run_parts(batch, pieces, self._run_sizes[way])
        trials.took(way, (time.monotonic() - start) / batch.rows)
        while len(self._trials) > _KEPT_TRIALS:  # image sizes are the client's choice
            self._trials.pop(next(iter(self._trials)), None)
        return done

    def _run_parts(self, batch: Batch, pieces: list[Arrays], most: int) -> tuple[list[Arrays], int]:
        """Run a batch, at most so many rows at once."""
        outputs: Arrays = {}
        at = padding = 0
        for part in [pieces] if batch.rows <= most else _cut(pieces, most):
            rows = sum(map(_rows, part))
            padding += self._run(part, rows, outputs, slice(at, at + rows), batch) - rows
            at += rows
        if len(pieces) == 1:
            return [outputs], padding
        answers, start = [], 0
        for piece in batch.pieces:
            stop = start + piece.stop - piece.start
            answers.append({n: a[start:stop].copy() for n, a in outputs.items()})
            start = stop
        return answers, padding

    def _run(self, pieces: list[Arrays], rows: int, outputs: Arrays, place: slice, batch: Batch) -> int:
        """Run so many rows at once, and put what comes out in its place. Returns the size that they were padded to."""
        size = padded(rows, self.sizes)
        shape = (size, *(pieces[0][name].shape[1:] for name in self._inputs))
        session = self._width.pick(shape, alone=batch.alone)
        key = (session is self._session, *shape)
        bound = self._borrow(key)
        if bound is None:
            bound = self._bind(session, size, pieces[0])
        bound.fill(pieces, rows)
        start = time.monotonic()
        found = bound.run()
        if batch.alone:
            self._width.took(shape, session, time.monotonic() - start)
        if not outputs:
            outputs.update((n, np.empty((batch.rows, *a.shape[1:]), a.dtype)) for n, a in found.items())
        for name, array in found.items():
            outputs[name][place] = array[:rows]
        self._give_back(key, bound)
        return size

    def run_each(self, batch: Batch) -> tuple[list[Arrays | Exception], int]:
        """Run a batch, and where it fails piece by piece, so that one bad input fails alone. Returns the outputs of each
        piece or what went wrong, and the rows that were padding."""
        try:
            answers, padding = self.run(batch)
            return list(answers), padding
        except Exception as error:  # whatever the runtime raises: find out whose rows it was
            if len(batch.pieces) == 1:
                return [error], 0
            return [self.run_each(Batch(batch.lane, (piece,)))[0][0] for piece in batch.pieces], 0

    def warm(self, inputs: Arrays) -> None:
        """Run once, so that the first request does not pay for it."""
        self._bind(self._session, len(next(iter(inputs.values()))), inputs).run()

    def _bind(self, session: ort.InferenceSession, size: int, example: Arrays) -> "_Stacked":
        if self._device == "cpu":
            return _Bound(session, self._inputs, self._outputs, size, example)
        return _Sent(self._device, self._inputs, size, example)

    def _borrow(self, key: tuple) -> "_Stacked | None":
        with self._lock:
            kept = self._bound.get(key)
            if not kept:
                return None
            self._bound.move_to_end(key)
            return kept.pop()

    def _give_back(self, key: tuple, bound: "_Stacked") -> None:
        if bound.elements > KEPT_ELEMENTS:
            return
        with self._lock:
            self._bound.setdefault(key, []).append(bound)
            self._bound.move_to_end(key)
            while len(self._bound) > _KEPT_BINDINGS:
                self._bound.popitem(last=False)


def _inputs(piece: Piece) -> Arrays:
    inputs: Arrays = piece.work.call.inputs  # type: ignore[union-attr]
    if piece.stop - piece.start == piece.work.size:
        return inputs
    return {name: array[piece.start : piece.stop] for name, array in inputs.items()}


def _rows(piece: Arrays) -> int:
    return len(next(iter(piece.values())))


def _cut(pieces: list[Arrays], most: int) -> Iterator[list[Arrays]]:
    """The same rows in the same order, by parts of so many rows; the last part may have fewer."""
    part: list[Arrays] = []
    room = most
    for piece in pieces:
        at, rows = 0, _rows(piece)
        while at < rows:
            stop = min(rows, at + room)
            part.append({name: array[at:stop] for name, array in piece.items()})
            room -= stop - at
            at = stop
            if not room:
                yield part
                part, room = [], most
    if part:
        yield part


class _Stacked(ABC):
    """Input memory of one batch size and row shape, where rows are put together."""

    def __init__(self, inputs: dict[str, Any], size: int, example: Arrays) -> None:
        self._arrays = {n: np.zeros((size, *example[n].shape[1:]), dtype) for n, dtype in inputs.items()}
        self.elements = sum(a.size for a in self._arrays.values())

    def fill(self, pieces: list[Arrays], rows: int) -> None:
        """Copy so many rows in; padding repeats the last row, so that it is ordinary data."""
        for name, array in self._arrays.items():
            np.concatenate([piece[name] for piece in pieces], out=array[:rows], casting="unsafe")
            if rows < len(array):
                array[rows:] = array[rows - 1]

    @abstractmethod
    def run(self) -> Arrays:
        """The outputs; the arrays may be overwritten by the next run."""


class _Sent(_Stacked):
    """Rows that are sent to a device together."""

    def __init__(self, device: "DeviceMemory", inputs: dict[str, Any], size: int, example: Arrays) -> None:
        super().__init__(inputs, size, example)
        self._device = device

    def run(self) -> Arrays:
        return self._device.run(self._arrays)


class _Bound(_Stacked):
    """Input and output memory in the CPU's, bound to the session once."""

    def __init__(
        self, session: ort.InferenceSession, inputs: dict[str, Any], outputs: list[str], size: int, example: Arrays
    ) -> None:
        super().__init__(inputs, size, example)
        self._session = session
        self._names = outputs
        self._binding = session.io_binding()
        for name, array in self._arrays.items():
            self._binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
        self._results: Arrays | None = None
        for name in outputs:
            self._binding.bind_output(name)

    def run(self) -> Arrays:
        self._session.run_with_iobinding(self._binding)
        if self._results is not None:
            return self._results
        values = self._binding.get_outputs()
        self._results = {n: v.numpy().copy() for n, v in zip(self._names, values, strict=True)}
        for name, array in self._results.items():
            # From the second run on the graph writes into our own memory.
            self._binding.bind_ortvalue_output(name, ort.OrtValue.ortvalue_from_numpy(array))
        return self._results
