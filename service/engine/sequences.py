"""Runs a text graph: one key/value buffer with a slot for each sequence, prompts in chunks, one step for all rows.

The buffer of a layer is [1 + slots, H_kv, cache, E]; past and present are bound to the same memory, so a step appends
in place. Sequences that take steps lie in rows 1 to n without gaps, the one whose prompt is being computed in row
n + 1: when one leaves, the last takes its place. One binding is made for each number of rows.

A graph that needs no past, a bigram's, has no buffer; its sequences are served in the same way.

Row 0 keeps a lonely sequence company. A matrix product of one row takes another path through the kernels and differs
in the last bits; with two rows or more, a row's bits do not depend on its batch.
"""

from typing import Any

import numpy as np
import onnxruntime as ort

from service.engine.job import Sampling, Token
from service.engine.scheduler import Batch, Piece
from service.errors import ModelFailed
from service.samplers.tokens import choose, log_softmax

_CACHE_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class SequenceRunner:
    """One `next_token` graph and its sequences. Called by one thread at a time."""

    def __init__(self, session: ort.InferenceSession, slots: int, context: int) -> None:
        self._session = session
        self.slots = slots
        self.context = context
        self._logits = session.get_outputs()[0].name
        self._caches: dict[str, np.ndarray] = {}
        for port in session.get_inputs():
            if port.name.startswith("past_key_values."):
                heads, width = port.shape[1], port.shape[3]
                self._caches[port.name] = np.zeros((1 + slots, heads, context, width), _CACHE_TYPES[port.type])
        self._rows: list[Any] = []  # the owner of row i + 1
        self._prompt: Any = None
        self._length = np.zeros(1 + slots, np.int32)
        self._temperature = np.zeros(1 + slots)
        self._top_p = np.ones(1 + slots)
        self._top_k = np.zeros(1 + slots, np.int64)
        self._top_logprobs = np.zeros(1 + slots, np.int64)
        self._ids = np.zeros((1 + slots, 1), np.int64)
        self._seqlens = np.zeros(1 + slots, np.int32)
        self._total = np.zeros((), np.int32)
        self._steps: dict[int, ort.IOBinding] = {}  # by number of rows

    @property
    def bytes(self) -> int:
        """Memory of the key/value buffers."""
        return sum(cache.nbytes for cache in self._caches.values())

    def run(self, batch: Batch) -> list[Token | Exception | None]:
        """Run a batch. Returns for each piece its token, None for a prompt not yet at its end, or its failure."""
        for owner in batch.left:
            self._leave(owner)
        if batch.prefill:
            return [self._prefill(batch.pieces[0])]
        # The scheduler steps all sequences or none, so the batch is exactly the rows.
        pieces = {id(p.work.owner): p for p in batch.pieces}
        assert len(pieces) == len(self._rows), "a step must hold every live sequence"
        return self._step(batch, [pieces[id(owner)] for owner in self._rows])

    def warm(self) -> None:
        """Compute a token in an empty slot."""
        self._run(self._row(1), np.zeros((1, 1), np.int64), np.zeros(1, np.int32))

    def _row(self, row: int) -> dict[str, np.ndarray]:
        return {name: cache[row : row + 1] for name, cache in self._caches.items()}

    def _prefill(self, piece: Piece) -> Token | Exception | None:
        work, row = piece.work, 1 + len(self._rows)
        call = work.call
        if piece.start == 0:
            self._prompt = work.owner
            self._length[row] = 0
            sampling: Sampling = call.sampling  # type: ignore[union-attr, assignment]
            self._temperature[row] = sampling.temperature
            self._top_p[row] = sampling.top_p
            self._top_k[row] = sampling.top_k
            self._top_logprobs[row] = sampling.top_logprobs
        tokens = np.ascontiguousarray(call.tokens[piece.start : piece.stop], np.int64)[None]  # type: ignore[union-attr]
        length = int(self._length[row]) + tokens.shape[1]
        try:
            logits = self._run(self._row(row), tokens, np.array([length - 1], np.int32))
        except Exception as error:  # whatever the runtime raises fails this sequence alone
            return error
        self._length[row] = length
        if piece.stop < call.size:
            return None
        self._rows.append(work.owner)
        self._prompt = None
        return self._choose(logits, slice(row, row + 1), np.array([call.uniform]))[0]  # type: ignore[union-attr]

    def _step(self, batch: Batch, pieces: list[Piece]) -> list[Token | Exception | None]:
        n = len(pieces)
        uniform = np.zeros(1 + n)
        for row, piece in enumerate(pieces, start=1):
            call = piece.work.call
            self._ids[row, 0] = call.tokens[0]  # type: ignore[union-attr]
            uniform[row] = call.uniform  # type: ignore[union-attr]
        self._seqlens[1 : n + 1] = self._length[1 : n + 1]
        answers: list[Token | Exception]
        try:
            answers = self._choose(self._logits_of(n), slice(1, n + 1), uniform[1:])
        except Exception as error:  # a step can be repeated: each row writes the same place again
            answers = [self._alone(row, uniform[row : row + 1]) for row in range(1, n + 1)] if n > 1 else [error]
        self._length[1 : n + 1] += 1
        by_owner = {id(p.work.owner): a for p, a in zip(pieces, answers, strict=True)}
        return [by_owner[id(p.work.owner)] for p in batch.pieces]

    def _alone(self, row: int, uniform: np.ndarray) -> Token | Exception:
        """Repeat a row's step in copies of its memory and of row 0's, out of reach of whichever row failed."""
        try:
            pair = {name: cache[[0, row]] for name, cache in self._caches.items()}
            ids, seqlens = self._ids[[0, row]], self._seqlens[[0, row]]
            logits = self._run(pair, ids, seqlens)
            for name, cache in self._caches.items():
                cache[row] = pair[name][1]
            return self._choose(logits[1:], slice(row, row + 1), uniform)[0]
        except Exception as error:
            return error

    def _choose(self, logits: np.ndarray, rows: slice, uniform: np.ndarray) -> list[Token | Exception]:
        """Choose every row's token. logits (B, V), uniform (B,)."""
        sound = np.isfinite(logits).all(axis=-1)
        if not sound.all():
            logits = np.where(sound[:, None], logits, 0.0)
        ids = choose(logits, self._temperature[rows], self._top_k[rows], self._top_p[rows], uniform)
        log_prob = log_softmax(logits)
        answers: list[Token | Exception] = []
        for i, token in enumerate(ids.tolist()):
            if not sound[i]:
                answers.append(ModelFailed("the model returned logits that are not finite"))
                continue
            k = int(self._top_logprobs[rows.start + i])
            top: tuple[tuple[int, float], ...] = ()
            if k:
                best = np.argsort(-log_prob[i], kind="stable")[:k]
                top = tuple((int(t), float(log_prob[i, t])) for t in best)
            answers.append(Token(token, float(log_prob[i, token]), top))
        return answers

    def _logits_of(self, count: int) -> np.ndarray:
        """One token for rows 1 to count, with memory that was bound once. Returns logits (count, V)."""
        first = min(1, count - 1)  # row 0 joins a lonely row
        binding = self._steps.get(count)
        if binding is None:
            rows = slice(first, count + 1)
            binding = self._steps[count] = self._bind({name: cache[rows] for name, cache in self._caches.items()})
            for name, array in (("input_ids", self._ids), ("seqlens_k", self._seqlens)):
                binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array[rows]))
            binding.bind_ortvalue_input("total_sequence_length", ort.OrtValue.ortvalue_from_numpy(self._total))
        self._total[...] = self._seqlens[1 : count + 1].max() + 1
        self._session.run_with_iobinding(binding)
        return binding.get_outputs()[0].numpy()[1 - first :]

    def _run(self, caches: dict[str, np.ndarray], ids: np.ndarray, seqlens: np.ndarray) -> np.ndarray:
        """Tokens (B, T) on top of these caches' rows. Returns logits (B, V)."""
        binding = self._bind(caches)
        # Named, so that it lives until the run: the binding does not keep it.
        total = np.array(seqlens.max() + 1, np.int32)
        binding.bind_cpu_input("input_ids", ids)
        binding.bind_cpu_input("seqlens_k", seqlens)
        binding.bind_cpu_input("total_sequence_length", total)
        self._session.run_with_iobinding(binding)
        return binding.get_outputs()[0].numpy()

    def _bind(self, caches: dict[str, np.ndarray]) -> ort.IOBinding:
        binding = self._session.io_binding()
        binding.bind_output(self._logits, "cpu")
        for name, cache in caches.items():
            value = ort.OrtValue.ortvalue_from_numpy(cache)
            binding.bind_ortvalue_input(name, value)
            binding.bind_ortvalue_output(name.replace("past_key_values.", "present.", 1), value)
        return binding

    def _leave(self, owner: Any) -> None:
        """Free a slot: the last stepping row fills the gap, and the prompt's row closes up behind."""
        if self._prompt is owner:
            self._prompt = None
            return
        row = next((i for i, o in enumerate(self._rows, start=1) if o is owner), None)
        if row is None:
            return
        last = len(self._rows)
        if row != last:
            self._move(last, row)
            self._rows[row - 1] = self._rows[last - 1]
        self._rows.pop()
        if self._prompt is not None:
            self._move(last + 1, last)

    def _move(self, source: int, target: int) -> None:
        length = self._length[source]
        for cache in self._caches.values():
            cache[target, :, :length] = cache[source, :, :length]
        for state in (self._length, self._temperature, self._top_p, self._top_k, self._top_logprobs):
            state[target] = state[source]
