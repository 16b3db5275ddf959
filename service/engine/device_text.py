"""A `next_token` graph on a device: keys and values stay there, and every step has the same shape.

Kernels of a device are chosen by shape, so a step takes all rows, whoever is in them, and is told that the longest of them
may be as long as the context: who else takes a step changes nothing of a row. Rows that nobody steps get a token too; what it
leaves lies behind their own tokens, where their next one will be put. Such a step can be a CUDA graph.

All runs are on the device's one thread (device.py). The same code runs with device "cpu", where the tests ask it for what
token_graph.py gives.
"""

import numpy as np
import onnxruntime as ort
from onnx import helper

from service.engine.brake import BrakedSession
from service.engine.device import THREAD
from service.engine.held_rows import Rows
from service.engine.key_values import shapes_of

_OPSET, _IR = 18, 10
_SPARE = 1  # row, behind all others: two that change places need a third


def mover_of(session: BrakedSession, context: int) -> bytes:
    """A graph that copies a row's keys and values: ONNX Runtime's Python interface has nothing else for it on a device."""
    nodes, inputs, outputs = [], [], []
    for name, (heads, width, kind) in shapes_of(session).items():
        shape = [1, heads, context, width]
        nodes.append(helper.make_node("Identity", [name], [f"{name} copied"]))
        number = helper.np_dtype_to_tensor_dtype(kind)
        inputs.append(helper.make_tensor_value_info(name, number, shape))
        outputs.append(helper.make_tensor_value_info(f"{name} copied", number, shape))
    graph = helper.make_graph(nodes, "move a row", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR).SerializeToString()


class DeviceKeyValues:
    """The keys and values of all rows, as the graph of `session` takes them. `mover` runs mover_of's graph."""

    def __init__(self, session: BrakedSession, mover: BrakedSession, rows: int, context: int, device: str) -> None:
        self._mover = mover
        self._device = device
        self._shapes = {name: (heads, context, width) for name, (heads, width, _) in shapes_of(session).items()}
        self._kinds = {name: kind for name, (_, _, kind) in shapes_of(session).items()}
        self._values = {
            name: ort.OrtValue.ortvalue_from_numpy(np.zeros((rows + _SPARE, *shape), self._kinds[name]), device, 0)
            for name, shape in self._shapes.items()
        }
        self._spare = rows
        self.nbytes = (rows + _SPARE) * sum(map(self._row_bytes, self._values))

    def bind(self, binding: ort.IOBinding, row: int, count: int = 1) -> None:
        """Have a graph read and write so many rows from one on, in place."""
        for name in self._values:
            place = self._place(name, row, count)
            binding.bind_input(name, *place)
            binding.bind_output(name.replace("past_key_values.", "present.", 1), *place)

    def swap(self, a: int, b: int, upto: int) -> None:
        """Exchange two rows, if one of them holds anything."""
        if upto:
            THREAD.submit(self._swap, a, b).result()

    def _swap(self, a: int, b: int) -> None:
        for source, row in ((a, self._spare), (b, a), (self._spare, b)):
            binding = self._mover.io_binding()
            for name in self._values:
                binding.bind_input(name, *self._place(name, source))
                binding.bind_output(f"{name} copied", *self._place(name, row))
            self._mover.run_with_iobinding(binding)

    def _place(self, name: str, row: int, count: int = 1) -> tuple[str, int, np.dtype, tuple[int, ...], int]:
        """Where some rows are, as a binding wants to be told."""
        address = self._values[name].data_ptr() + row * self._row_bytes(name)
        return self._device, 0, self._kinds[name], (count, *self._shapes[name]), address

    def _row_bytes(self, name: str) -> int:
        return int(np.prod(self._shapes[name])) * self._kinds[name].itemsize


class DeviceTokenGraph:
    """Runs a graph on `slots` rows of keys and values on its device, of at most `context` tokens each. `mover` runs mover_of's
    graph there. Its `session` is the CPU's, for calls that bring their own keys and values."""

    def __init__(
        self,
        session: ort.InferenceSession,
        there: BrakedSession,
        mover: BrakedSession,
        slots: int,
        context: int,
        device: str,
    ) -> None:
        self.session = session
        self.there = there
        self._device = device
        self._memory = DeviceKeyValues(there, mover, slots, context, device)
        self.rows = Rows(there, 0, slots, context, self._memory)
        logits = there.get_outputs()[0]
        self._logits_name = logits.name
        self.vocabulary = int(logits.shape[-1])
        self._live = 0
        self._ids, self._seqlens = np.zeros((slots, 1), np.int64), np.zeros(slots, np.int32)
        # The same on the device, and what a step gives there. That total is a number on the CPU even so.
        self._fed = [self._put(array) for array in (self._ids, self._seqlens)]
        self._total = ort.OrtValue.ortvalue_from_numpy(np.array(context, np.int32))
        self._logits, self._prompt_logits = (self._put(np.zeros((n, self.vocabulary), np.float32)) for n in (slots, 1))
        self._prompts: dict[int, ort.IOBinding] = {}  # by row
        self._step_of, self._options = self._bound(there), there.brake.options
        self._stepping = there

    def record(self, replaying: BrakedSession) -> None:
        """Have steps replayed as a CUDA graph, by a session of the same graph. Raises what the runtime raises where that
        cannot be, and ValueError where it has other bits."""
        THREAD.submit(self._record, replaying).result()

    def begin_steps(self, ids: np.ndarray, lengths: np.ndarray, *, alone: bool) -> None:
        """Steps of the live rows follow, from ids (n,) behind `lengths` (n,) tokens on."""
        self._live = len(ids)
        self._ids[...] = 0
        self._ids[: self._live, 0] = ids
        # A full row takes no steps any more: what is put in the place of its last token hurts nobody.
        np.minimum(self.rows.length, self.rows.context - 1, out=self._seqlens, casting="unsafe")
        self._seqlens[: self._live] = lengths

    def end_steps(self, steps: int) -> None:
        """Nothing: there is one way only."""

    def step(self) -> np.ndarray:
        """One token for each live row. Returns logits (n, V)."""
        return THREAD.submit(self._step).result()[: self._live]

    def feed(self, ids: np.ndarray) -> None:
        """Say what the next step feeds to the live rows: ids (n,)."""
        self._ids[: self._live, 0] = ids
        self._seqlens[: self._live] += 1

    def step_alone(self, error: Exception) -> tuple[np.ndarray, dict[int, Exception]]:
        """Row by row a step would have other bits, and inputs were checked before: a device that fails fails all."""
        return np.zeros((self._live, self.vocabulary), np.float32), dict.fromkeys(range(self._live), error)

    def prompt(self, row: int, ids: np.ndarray, stop: int, *, alone: bool = False) -> np.ndarray:
        """Tokens (1, T) of one row, of which the last is number `stop`. Returns logits (1, V)."""
        return THREAD.submit(self._prompt, row, ids, stop).result()

    def warm(self) -> None:
        """Compute a token in an empty row, and one step."""
        self.prompt(0, np.zeros((1, 1), np.int64), 1)
        self.begin_steps(np.zeros(1, np.int64), np.ones(1, np.int64), alone=False)
        self.step()

    def _step(self) -> np.ndarray:
        for value, array in zip(self._fed, (self._ids, self._seqlens), strict=True):
            value.update_inplace(array)
        self._step_of.synchronize_inputs()
        self._stepping.run_with_iobinding(self._step_of, self._options)
        return self._logits.numpy()

    def _prompt(self, row: int, ids: np.ndarray, stop: int) -> np.ndarray:
        binding = self._prompts.get(row)
        if binding is None:
            binding = self._prompts[row] = self.there.io_binding()
            self._memory.bind(binding, row)
            binding.bind_ortvalue_output(self._logits_name, self._prompt_logits)
        # Bound anew each time: what is on the CPU may have been copied when it was bound.
        binding.bind_ortvalue_input("input_ids", self._put(np.ascontiguousarray(ids)))
        binding.bind_ortvalue_input("seqlens_k", self._put(np.array([stop - 1], np.int32)))
        total = ort.OrtValue.ortvalue_from_numpy(np.array(stop, np.int32))
        binding.bind_ortvalue_input("total_sequence_length", total)
        binding.synchronize_inputs()
        self.there.run_with_iobinding(binding)
        return self._prompt_logits.numpy().copy()

    def _record(self, replaying: BrakedSession) -> None:
        expected = self._step().copy()
        binding, options = self._bound(replaying), replaying.brake.options_of(1)
        before = self._stepping, self._step_of, self._options
        self._stepping, self._step_of, self._options = replaying, binding, options
        try:
            for _ in range(2):  # recorded, and replayed
                found = self._step()
            if found.tobytes() != expected.tobytes():
                raise ValueError("a step has other bits than without")
        except Exception:
            self._stepping, self._step_of, self._options = before
            raise

    def _bound(self, session: BrakedSession) -> ort.IOBinding:
        """The binding of a step of all rows, whose addresses stay as they are."""
        binding = session.io_binding()
        for name, value in zip(("input_ids", "seqlens_k"), self._fed, strict=True):
            binding.bind_ortvalue_input(name, value)
        binding.bind_ortvalue_input("total_sequence_length", self._total)
        self._memory.bind(binding, 0, self.rows.count)
        binding.bind_ortvalue_output(self._logits_name, self._logits)
        return binding

    def _put(self, array: np.ndarray) -> ort.OrtValue:
        return ort.OrtValue.ortvalue_from_numpy(array, self._device, 0)
