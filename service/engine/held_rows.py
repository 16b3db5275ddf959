"""What the rows of a key/value buffer hold: keys and values, the tokens that they are of, and what each row needs to go on.

Everything is an array over rows, so that a step does for all rows at once what it has to do.

Buffers of one graph may stand beside each other, a thread each: what begins in one of them takes over what another holds.
"""

import threading
from collections.abc import Sequence

import numpy as np
import onnxruntime as ort

from service.engine.job import SequenceCall
from service.engine.key_values import Caches, HostKeyValues, KeyValues
from service.samplers.tokens import Choice

NONE = -1
"""No token."""


class Rows:
    """`first + slots` rows, of which those before `first` are nobody's. A row that is free keeps what it holds. Keys and values
    are in the CPU's memory, where no other is given.

    Raises KeyError, TypeError or ValueError where the graph's caches have no fixed numbers of heads and of elements.
    """

    def __init__(
        self, session: ort.InferenceSession, first: int, slots: int, context: int, memory: KeyValues | None = None
    ) -> None:
        self.count = rows = first + slots
        self.context = context
        self.memory = memory or HostKeyValues(session, rows, context)
        self.numbers = np.arange(rows)
        # At position p: a token that the row holds or feeds next, the randomness of its choice, and what is given there.
        self.tokens = np.zeros((rows, context + 1), np.int64)
        self.uniform = np.zeros((rows, context + 1))
        self.given = np.full((rows, context + 1), NONE, np.int64)
        self.length = np.zeros(rows, np.int64)  # tokens whose keys and values it holds
        self.shareable = np.zeros(
            rows, np.int64
        )  # of those, the prompt's; a step's have other last bits than a chunk's
        self.stop_at = np.zeros(rows, np.int64)  # tokens at its end, with the prompt's
        self.end_token = np.full(rows, NONE, np.int64)
        self.temperature = np.zeros(rows)
        self.top_p = np.ones(rows)
        self.top_k = np.zeros(rows, np.int64)
        self._began = np.zeros(rows, np.int64)
        self._clock = 0
        self._beside: tuple[Rows, ...] = ()
        self._moving = threading.RLock()  # around all that puts a beginning elsewhere, or another in its place

    @property
    def caches(self) -> Caches:
        """Keys and values that are in the CPU's memory."""
        assert isinstance(self.memory, HostKeyValues), "nobody else reads them"
        return self.memory.arrays

    @staticmethod
    def stand_together(buffers: "Sequence[Rows]") -> None:
        """Let each of these take over beginnings from the others, whatever their threads do meanwhile."""
        for rows in buffers:
            rows._moving = buffers[0]._moving
            rows._beside = tuple(others for others in buffers if others is not rows)

    def begin(self, row: int, call: SequenceCall, *, reuse: bool) -> None:
        """Give the first free row to a prompt; all behind it are free. Where `reuse`, it takes over the keys and values of
        the longest beginning that some row, live or free, shares: `length` says how long."""
        size, limit = len(call.prompt), len(call.prompt) + len(call.uniform)
        assert limit <= self.context + 1, "what does not fit is the task's to cut"
        with self._moving:
            self._take_over(row, call.prompt, reuse=reuse)
        self.uniform[row, size:limit] = call.uniform
        self.given[row, size:limit] = NONE if call.given is None else call.given
        self.stop_at[row] = limit
        self.end_token[row] = NONE if call.end_token is None else call.end_token
        self.temperature[row] = call.sampling.temperature
        self.top_p[row] = call.sampling.top_p
        self.top_k[row] = call.sampling.top_k

    def _take_over(self, row: int, prompt: np.ndarray, *, reuse: bool) -> None:
        """Put the prompt's tokens into the row, and the keys and values of its longest beginning that is held anywhere."""
        shared = self._shared(row, prompt) if reuse else 0
        self.tokens[row, : len(prompt)] = prompt
        self.length[row] = self.shareable[row] = shared

    def _shared(self, row: int, prompt: np.ndarray) -> int:
        """Have the row hold the longest beginning of a prompt that is held anywhere. Returns how many tokens that are."""
        held = [(*rows._longest_beginning(prompt), rows) for rows in (self, *self._beside)]
        shared, source, holder = max(held, key=lambda found: found[0])
        if shared and holder is self and source >= row:
            self.swap(row, source)
        else:
            self.swap(row, row + int(self._began[row:].argmin()))  # what began last is wanted again sooner
            for name, cache in self.caches.items():
                cache[row, :, :shared] = holder.caches[name][source, :, :shared]
        self._clock += 1
        self._began[row] = self._clock
        return shared

    def choice(self, rows: slice) -> Choice:
        """How these rows choose their tokens."""
        return Choice(self.temperature[rows], self.top_k[rows], self.top_p[rows])

    def _longest_beginning(self, prompt: np.ndarray) -> tuple[int, int]:
        """How many of the prompt's tokens some row holds, and which. Two at least are left to be computed, for one token
        alone takes another path through attention and differs in the last bits."""
        size = len(prompt) - 2
        if size < 1:
            return 0, 0
        same = self.tokens[:, :size] == prompt[:size]
        shared = np.minimum(np.where(same.all(axis=1), size, same.argmin(axis=1)), self.shareable)
        source = int(shared.argmax())
        return int(shared[source]), source

    def swap(self, a: int, b: int) -> None:
        """Exchange two rows."""
        if a == b:
            return
        upto = int(max(self.length[a], self.length[b]))
        with self._moving:
            self.memory.swap(a, b, upto)
            for state in (
                self.tokens,
                self.uniform,
                self.given,
                self.length,
                self.shareable,
                self.stop_at,
                self.end_token,
                self.temperature,
                self.top_p,
                self.top_k,
                self._began,
            ):
                state[[a, b]] = state[[b, a]]
