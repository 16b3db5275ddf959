"""Batches on a device: memory that is bound once for each shape, CUDA graphs, and the one thread that works there.

A batch is copied to the device, run, and copied back; nothing else is allocated or copied. ONNX Runtime keeps a CUDA graph
with the thread that recorded it, and while one is recorded no other thread may allocate or copy on the device: so all runs
are on one thread. Graphs are recorded while a model is loaded, at the sizes that its batches will have; whoever loads waits
for it and opens no session meanwhile. A batch of any other shape runs without one.

The same code runs with device "cpu", where the tests ask it for the bits that a plain session gives.
"""

import itertools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

import numpy as np
import onnxruntime as ort

from service.engine.brake import BrakedSession
from service.engine.job import Arrays
from service.engine.rows import KEPT_ELEMENTS, NUMPY

THREAD = ThreadPoolExecutor(1, "amostra-device")
_KEPT = 24

Run = Callable[[Arrays], Arrays]
Key = tuple[tuple[int, ...], ...]


class DeviceMemory:
    """A session's input and output memory on its device, one for each shape of batch."""

    def __init__(self, session: BrakedSession, device: str, thread: Executor = THREAD) -> None:
        self._session = session
        self._device = device
        self._thread = thread
        self._types = {port.name: NUMPY[port.type] for port in (*session.get_inputs(), *session.get_outputs())}
        self._inputs = [port.name for port in session.get_inputs()]
        self._outputs = [port.name for port in session.get_outputs()]
        self._bound: OrderedDict[Key, _Binding] = OrderedDict()
        self._recorded: dict[Key, _Binding] = {}
        self._numbers = itertools.count(1)  # 0 is the runtime's own

    def run(self, feed: Arrays) -> Arrays:
        """Run a batch of contiguous arrays of the inputs' types. The outputs are the caller's."""
        return self._thread.submit(self._run, feed).result()

    def record(self, feed: Arrays) -> Arrays:
        """Record a CUDA graph for batches of this shape, and run it once. Raises what the runtime raises where it cannot
        be recorded; the session is of no use then."""
        return self._thread.submit(self._record, feed).result()

    def _run(self, feed: Arrays) -> Arrays:
        key = self._key(feed)
        recorded = self._recorded.get(key)
        if recorded is not None:
            return recorded.run(feed)
        # Taken out while it runs: one that failed is not used again.
        binding = self._bound.pop(key, None) or self._bind(feed)
        outputs = binding.run(feed)
        if binding.elements <= KEPT_ELEMENTS:
            self._bound[key] = binding
            if len(self._bound) > _KEPT:
                self._bound.popitem(last=False)
        return outputs

    def _record(self, feed: Arrays) -> Arrays:
        binding = self._bind(feed)
        binding.run(feed)  # now the outputs have their place
        binding.options = self._session.brake.options_of(next(self._numbers))
        binding.run(feed)  # as often as it takes to record: the runtime's affair
        self._recorded[self._key(feed)] = binding
        return binding.run(feed)

    def _key(self, feed: Arrays) -> Key:
        return tuple(feed[name].shape for name in self._inputs)

    def _bind(self, feed: Arrays) -> "_Binding":
        return _Binding(self._session, self._device, {n: feed[n] for n in self._inputs}, self._outputs, self._types)


class _Binding:
    """The memory of one shape, whose addresses stay as they are. `options` say which CUDA graph its runs are."""

    def __init__(
        self, session: BrakedSession, device: str, feed: Arrays, outputs: list[str], types: dict[str, type]
    ) -> None:
        self._session = session
        self._device = device
        self._types = types
        self._outputs = outputs
        self._settled = False
        self.options = session.brake.options
        self.elements = sum(array.size for array in feed.values())
        self._binding = session.io_binding()
        self._values = {name: self._allocate(name, array.shape) for name, array in feed.items()}
        for name, value in self._values.items():
            self._binding.bind_ortvalue_input(name, value)
        for name in outputs:
            self._binding.bind_output(name, device, 0)

    def run(self, feed: Arrays) -> Arrays:
        for name, value in self._values.items():
            value.update_inplace(feed[name])
        self._binding.synchronize_inputs()
        self._session.run_with_iobinding(self._binding, self.options)
        outputs = dict(zip(self._outputs, self._binding.copy_outputs_to_cpu(), strict=True))
        if not self._settled:
            for name, array in outputs.items():
                # From the second run on the graph writes where it always writes: only then are their shapes known.
                self._binding.bind_ortvalue_output(name, self._allocate(name, array.shape))
            self._settled = True
        return outputs

    def _allocate(self, name: str, shape: tuple[int, ...]) -> ort.OrtValue:
        return ort.OrtValue.ortvalue_from_shape_and_type(shape, self._types[name], self._device, 0)


def rows_of(batch: Arrays, which: slice) -> Arrays:
    """Some rows of a batch, as arrays of their own."""
    return {name: np.ascontiguousarray(array[which]) for name, array in batch.items()}


def agreeing(run: Run, feed: Arrays, sizes: Sequence[int]) -> tuple[int, ...]:
    """Of these ascending batch sizes, the largest one and those in which rows have the same bits as there; only 1 where
    bits depend on a row's place too.

    `feed` has as many rows as the largest. Kernels are chosen by shape, so a measure on one device holds for it alone.
    """
    most = sizes[-1]
    feed, backwards = rows_of(feed, slice(most)), slice(None, None, -1)
    whole = run(feed)
    if not same_bits(rows_of(run(rows_of(feed, backwards)), backwards), whole):
        return (1,)
    return tuple(
        size
        for size in sizes
        if size == most
        or all(
            same_bits(run(rows_of(feed, part)), rows_of(whole, part))
            for part in (slice(size), slice(most - size, most))
        )
    )


def same_bits(a: Arrays, b: Arrays) -> bool:
    """Whether two outputs are the same, bit by bit."""
    return all(a[name].tobytes() == b[name].tobytes() for name in a)
