"""A `next_token` graph over key/value buffers: past and present are bound to the same memory, so a step appends in place.

One binding is made for each number of rows. A step that has the machine to itself runs on all cores, where that is faster
and gives the same bits (width.py).
"""

import numpy as np
import onnxruntime as ort

from service.engine.held_rows import Rows
from service.engine.width import StepSession, Widen

Caches = dict[str, np.ndarray]
"""Keys and values by the graph's names of them, [rows, H_kv, cache, E]."""


class TokenGraph:
    """Runs the graph on rows of `rows`, of which those before `first` are nobody's and keep a lonely row company.

    `widen` makes a session of the same graph with a thread for each core, for steps that are alone.
    """

    def __init__(self, session: ort.InferenceSession, rows: Rows, first: int, widen: Widen | None) -> None:
        self.session = session
        self._stepping = StepSession(session, widen, self._blank)
        self._rows = rows
        self._first = first
        logits = session.get_outputs()[0]
        self._logits_name = logits.name
        self._logits = np.zeros((rows.count, logits.shape[-1]), np.float32)
        self._ids = np.zeros((rows.count, 1), np.int64)
        self._seqlens = np.zeros(rows.count, np.int32)
        self._total = np.zeros((), np.int32)
        self._steps: dict[tuple[bool, int], ort.IOBinding] = {}  # by session and number of rows

    @property
    def vocabulary(self) -> int:
        """Logits of a row."""
        return self._logits.shape[1]

    def begin_steps(self, count: int, *, alone: bool) -> None:
        """Steps of so many rows follow; `alone` says that nothing else runs or waits."""
        self._stepping.begin(count, alone=alone)

    def end_steps(self, count: int, steps: int) -> None:
        """So many steps were taken since begin_steps."""
        self._stepping.end(count, steps)

    def feed(self, ids: np.ndarray, lengths: np.ndarray) -> None:
        """Say what step() feeds to the live rows: ids (n,) behind `lengths` (n,) tokens."""
        rows = slice(self._first, self._first + len(ids))
        self._ids[rows, 0] = ids
        self._seqlens[rows] = lengths

    def step(self, count: int) -> np.ndarray:
        """One token for each live row, with memory that was bound once. Returns logits (count, V), which the next step
        overwrites."""
        low = 0 if count == 1 else self._first  # row 0 joins a lonely row
        rows = slice(low, self._first + count)
        session = self._stepping.session
        key = (session is self.session, count)
        binding = self._steps.get(key)
        if binding is None:
            caches = {name: cache[rows] for name, cache in self._rows.caches.items()}
            binding = self._steps[key] = _bind(session, caches)
            for name, array in (("input_ids", self._ids), ("seqlens_k", self._seqlens)):
                binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array[rows]))
            binding.bind_ortvalue_input("total_sequence_length", ort.OrtValue.ortvalue_from_numpy(self._total))
            binding.bind_ortvalue_output(self._logits_name, ort.OrtValue.ortvalue_from_numpy(self._logits[rows]))
        self._total[...] = self._seqlens[rows].max() + 1
        session.run_with_iobinding(binding)
        return self._logits[self._first : self._first + count]

    def step_alone(self, count: int, error: Exception) -> tuple[np.ndarray, dict[int, Exception]]:
        """Repeat a failed step row by row, in copies of a row's memory, out of reach of whichever row failed. Returns
        logits (count, V) and what went wrong, by the row's place."""
        logits, failed = np.zeros((count, self.vocabulary), np.float32), {}
        if count == 1:
            return logits, {0: error}
        for i in range(count):
            row = self._first + i
            pair = [0, row] if self._first else [row]
            copies = {name: cache[pair] for name, cache in self._rows.caches.items()}
            try:
                logits[i] = self.run(copies, self._ids[pair], self._seqlens[pair])[-1]
            except Exception as own:
                failed[i] = own
                continue
            for name, cache in self._rows.caches.items():
                cache[row] = copies[name][-1]
        return logits, failed

    def prompt(self, row: int, ids: np.ndarray, stop: int) -> np.ndarray:
        """Tokens (1, T) of one row, of which the last is number `stop`. Returns logits (1, V)."""
        return self.run(self._row(row), ids, np.array([stop - 1], np.int32))

    def run(self, caches: Caches, ids: np.ndarray, seqlens: np.ndarray) -> np.ndarray:
        """Tokens (B, T) on top of these caches' rows, whose last places are `seqlens` (B,). Returns logits (B, V)."""
        binding = _bind(self.session, caches)
        # Named, so that they live until the run: the binding does not keep them.
        ids, total = np.ascontiguousarray(ids), np.array(seqlens.max() + 1, np.int32)
        binding.bind_cpu_input("input_ids", ids)
        binding.bind_cpu_input("seqlens_k", seqlens)
        binding.bind_cpu_input("total_sequence_length", total)
        binding.bind_output(self._logits_name, "cpu")
        self.session.run_with_iobinding(binding)
        return binding.get_outputs()[-1].numpy()

    def warm(self) -> None:
        """Compute a token in an empty row."""
        self.prompt(self._first, np.zeros((1, 1), np.int64), 1)

    def _row(self, row: int) -> Caches:
        return {name: cache[row : row + 1] for name, cache in self._rows.caches.items()}

    def _blank(self) -> dict[str, np.ndarray]:
        """Inputs of a step of one token on noise."""
        noise = np.random.default_rng(0)
        caches = {
            name: noise.standard_normal(cache[:1].shape).astype(cache.dtype)
            for name, cache in self._rows.caches.items()
        }
        length = self._rows.context // 2
        return {
            "input_ids": np.zeros((1, 1), np.int64),
            "seqlens_k": np.array([length], np.int32),
            "total_sequence_length": np.array(length + 1, np.int32),
            **caches,
        }


def _bind(session: ort.InferenceSession, caches: Caches) -> ort.IOBinding:
    binding = session.io_binding()
    for name, cache in caches.items():
        value = ort.OrtValue.ortvalue_from_numpy(cache)
        binding.bind_ortvalue_input(name, value)
        binding.bind_ortvalue_output(name.replace("past_key_values.", "present.", 1), value)
    return binding
