"""A `next_token` graph over key/value buffers: past and present are bound to the same memory, so a step appends in place.

One binding is made for each number of rows, and one for the prompts of each row. What has the machine to itself, a step or a
prompt, runs on all cores, where that is faster and gives the same bits (width.py).

A step of a large model leaves nothing of ours in the caches, so that each call of NumPy between two steps costs ten times
what it does elsewhere: there are as few of them as can be.
"""

import numpy as np
import onnxruntime as ort

from service.engine.held_rows import Rows
from service.engine.key_values import Caches
from service.engine.width import BLANKS, TokenSession, Widen


class TokenGraph:
    """Runs the graph on rows of `rows`, of which those before `first` are nobody's and keep a lonely row company. Where rows
    are not `together`, a step runs each of them alone.

    `widen` makes a session of the same graph with a thread for each core, for steps that are alone.
    """

    def __init__(
        self, session: ort.InferenceSession, rows: Rows, first: int, widen: Widen | None, *, together: bool = True
    ) -> None:
        self.session = session
        self._together = together
        self._computing = TokenSession(session, widen, self._blanks)
        self._rows = rows
        self._first = first
        logits = session.get_outputs()[0]
        self._logits_name = logits.name
        self._logits = np.zeros((rows.count, logits.shape[-1]), np.float32)
        self._ids = np.zeros((rows.count, 1), np.int64)
        counts = np.zeros(1 + rows.count, np.int32)  # side by side, to be counted up together
        self._counts, self._total, self._seqlens = counts, counts[:1].reshape(()), counts[1:]
        self._more = np.ones_like(counts)
        self._more[1 : 1 + first] = 0
        self._steps: dict[tuple[bool, int], ort.IOBinding] = {}  # by session and number of rows
        # Of the rows that take steps now: what is bound, and views of what they feed and of what comes back.
        self._binding: ort.IOBinding
        self._fed: np.ndarray
        self._counting: tuple[np.ndarray, np.ndarray]
        self._live: np.ndarray
        # Of prompts: by session and row, and what all of them are told and give back.
        self._prompts: dict[tuple[bool, int], ort.IOBinding] = {}
        self._last, self._prompt_total = np.zeros(1, np.int32), np.zeros((), np.int32)
        self._prompt_logits = np.zeros((1, self.vocabulary), np.float32)

    @property
    def vocabulary(self) -> int:
        """Logits of a row."""
        return self._logits.shape[1]

    def begin_steps(self, ids: np.ndarray, lengths: np.ndarray, *, alone: bool) -> None:
        """Steps of the live rows follow, from ids (n,) behind `lengths` (n,) tokens on; `alone` says that nothing else runs
        or waits."""
        count = len(ids)
        self._computing.begin(count, alone=alone)
        self._binding = self._bound(count)
        rows = slice(self._first, self._first + count)
        self._fed, self._live = self._ids[rows, 0], self._logits[rows]
        self._counting = self._counts[: 1 + rows.stop], self._more[: 1 + rows.stop]
        self._fed[...] = ids
        self._seqlens[rows] = lengths
        self._total[...] = lengths.max() + 1

    def end_steps(self, steps: int) -> None:
        """So many steps were taken since begin_steps."""
        self._computing.end(steps)

    def step(self) -> np.ndarray:
        """One token for each live row, with memory that was bound once. Returns logits (n, V), which the next step
        overwrites."""
        if self._together:
            self._computing.session.run_with_iobinding(self._binding)
            return self._live
        for i in range(len(self._fed)):
            row = self._first + i
            self._live[i] = self.prompt(row, self._ids[row : row + 1], int(self._seqlens[row]) + 1)[0]
        return self._live

    def feed(self, ids: np.ndarray) -> None:
        """Say what the next step feeds to the live rows: ids (n,)."""
        self._fed[...] = ids
        np.add(*self._counting, out=self._counting[0])

    def step_alone(self, error: Exception) -> tuple[np.ndarray, dict[int, Exception]]:
        """Repeat a failed step row by row, in copies of a row's memory, out of reach of whichever row failed. Returns
        logits (n, V) and what went wrong, by the row's place."""
        count = len(self._fed)
        logits, failed = np.zeros((count, self.vocabulary), np.float32), {}
        if count == 1:
            return logits, {0: error}
        for i in range(count):
            row = self._first + i
            pair = [0, row] if self._first else [row]
            copies = {name: cache[pair] for name, cache in self._rows.caches.items()}
            try:
                logits[i] = self._run_copies(copies, self._ids[pair], self._seqlens[pair])[-1]
            except Exception as own:
                failed[i] = own
                continue
            for name, cache in self._rows.caches.items():
                cache[row] = copies[name][-1]
        return logits, failed

    def _bound(self, count: int) -> ort.IOBinding:
        """The binding of a step of so many rows."""
        session = self._computing.session
        key = (session is self.session, count)
        binding = self._steps.get(key)
        if binding is None:
            low = 0 if count == 1 else self._first  # row 0 joins a lonely row
            rows = slice(low, self._first + count)
            caches = {name: cache[rows] for name, cache in self._rows.caches.items()}
            binding = self._steps[key] = _bind(session, caches)
            for name, array in (("input_ids", self._ids), ("seqlens_k", self._seqlens)):
                binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array[rows]))
            binding.bind_ortvalue_input("total_sequence_length", ort.OrtValue.ortvalue_from_numpy(self._total))
            binding.bind_ortvalue_output(self._logits_name, ort.OrtValue.ortvalue_from_numpy(self._logits[rows]))
        return binding

    def prompt(self, row: int, ids: np.ndarray, stop: int, *, alone: bool = False) -> np.ndarray:
        """Tokens (1, T) of one row, of which the last is number `stop`. Returns logits (1, V), which the next prompt
        overwrites."""
        session = self._computing.widest(alone=alone)
        key = (session is self.session, row)
        binding = self._prompts.get(key)
        if binding is None:
            binding = self._prompts[key] = _bind(session, self._row(row))
            for name, array in (("seqlens_k", self._last), ("total_sequence_length", self._prompt_total)):
                binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
            binding.bind_ortvalue_output(self._logits_name, ort.OrtValue.ortvalue_from_numpy(self._prompt_logits))
        ids = np.ascontiguousarray(ids)  # named, so that they live until the run: the binding does not keep them
        binding.bind_cpu_input("input_ids", ids)
        self._last[0], self._prompt_total[...] = stop - 1, stop
        session.run_with_iobinding(binding)
        return self._prompt_logits

    def _run_copies(self, caches: Caches, ids: np.ndarray, seqlens: np.ndarray) -> np.ndarray:
        """Tokens (B, T) on top of these caches' rows, whose last places are `seqlens` (B,). Returns logits (B, V)."""
        session = self._computing.session
        binding = _bind(session, caches)
        # Named, so that they live until the run: the binding does not keep them.
        ids, total = np.ascontiguousarray(ids), np.array(seqlens.max() + 1, np.int32)
        binding.bind_cpu_input("input_ids", ids)
        binding.bind_cpu_input("seqlens_k", seqlens)
        binding.bind_cpu_input("total_sequence_length", total)
        binding.bind_output(self._logits_name, "cpu")
        session.run_with_iobinding(binding)
        return binding.get_outputs()[-1].numpy()

    def warm(self) -> None:
        """Compute a token in an empty row."""
        self.prompt(self._first, np.zeros((1, 1), np.int64), 1)

    def _row(self, row: int) -> Caches:
        return {name: cache[row : row + 1] for name, cache in self._rows.caches.items()}

    def _blanks(self) -> list[dict[str, np.ndarray]]:
        """Inputs of steps and of prompts, on noise."""
        noise = np.random.default_rng(0)
        length = self._rows.context // 2

        def blank(rows: int, tokens: int) -> dict[str, np.ndarray]:
            return {
                "input_ids": np.zeros((rows, tokens), np.int64),
                "seqlens_k": np.full(rows, length + tokens - 1, np.int32),
                "total_sequence_length": np.array(length + tokens, np.int32),
                **{
                    name: noise.standard_normal((rows, *cache.shape[1:])).astype(cache.dtype)
                    for name, cache in self._rows.caches.items()
                },
            }

        return [blank(rows, tokens) for rows, tokens in BLANKS if rows <= self._rows.count and tokens <= length]


def _bind(session: ort.InferenceSession, caches: Caches) -> ort.IOBinding:
    binding = session.io_binding()
    for name, cache in caches.items():
        value = ort.OrtValue.ortvalue_from_numpy(cache)
        binding.bind_ortvalue_input(name, value)
        binding.bind_ortvalue_output(name.replace("past_key_values.", "present.", 1), value)
    return binding
