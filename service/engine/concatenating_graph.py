"""A `next_token` graph whose caches grow by concatenation, as Hugging Face Optimum exports decoders.

    input_ids, attention_mask, [position_ids], past [n, H_kv, P, E] -> logits [n, T, V], present [n, H_kv, P + T, E]

Each row's keys and values lie in the engine's buffer, as those of graphs that append in place do. A step takes them out,
right-aligned behind padding that is masked, and writes back what is new. How much padding a row gets follows from its own
length alone, so that its bits do not depend on who else takes a step: rows share a run where the next multiple of `BLOCK`
above their lengths is the same, and where the manifest does not say that a graph's rows are independent of their batch,
each runs alone, without padding.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort

from service.engine.held_rows import Rows
from service.engine.width import BLANKS, TokenSession, Widen

BLOCK = 64


@dataclass(frozen=True)
class Concatenation:
    """How such a graph is run. Its first `vocabulary` logits are tokens, the others fill up a round number. `together` says
    that rows may share a run, and `company` that none may be alone in it."""

    vocabulary: int
    together: bool = False
    company: bool = False


class ConcatenatingGraph:
    """Runs the graph on rows of `rows`. `widen` makes a session of it with a thread for each core."""

    def __init__(
        self, session: ort.InferenceSession, rows: Rows, how: Concatenation, widen: Widen | None = None
    ) -> None:
        self.session = session
        self.vocabulary = how.vocabulary
        self._how = how
        self._rows = rows
        self._takes_positions = "position_ids" in {port.name for port in session.get_inputs()}
        self._outputs = ["logits", *(name.replace("past_key_values.", "present.", 1) for name in rows.caches)]
        self._computing = TokenSession(session, widen, self._blanks)
        self._ids = self._lengths = np.zeros(0, np.int64)  # what the live rows feed, behind how many tokens
        # What the last step of each group of rows gave back, while nobody comes and nobody leaves.
        self._carried: dict[bytes, list[np.ndarray]] = {}

    def begin_steps(self, ids: np.ndarray, lengths: np.ndarray, *, alone: bool) -> None:
        """Steps of the live rows follow, from ids (n,) behind `lengths` (n,) tokens on; `alone` says that nothing else runs
        or waits."""
        self._computing.begin(len(ids), alone=alone)
        self._ids, self._lengths, self._carried = ids.copy(), lengths.copy(), {}

    def end_steps(self, steps: int) -> None:
        """So many steps were taken since begin_steps."""
        self._computing.end(steps)
        self._carried = {}

    def step(self) -> np.ndarray:
        """One token for each live row. Returns logits (n, V)."""
        logits = np.empty((len(self._ids), self.vocabulary), np.float32)
        before, self._carried = self._carried, {}
        for group in self._groups():
            logits[group] = self._run_group(group, before.get(group.tobytes()))
        return logits

    def feed(self, ids: np.ndarray) -> None:
        """Say what the next step feeds to the live rows: ids (n,)."""
        self._ids[...] = ids
        self._lengths += 1

    def step_alone(self, error: Exception) -> tuple[np.ndarray, dict[int, Exception]]:
        """Repeat a failed step row by row. Returns logits (n, V) and what went wrong, by the row's place."""
        count = len(self._ids)
        logits, failed = np.zeros((count, self.vocabulary), np.float32), {}
        self._carried = {}
        if count == 1:
            return logits, {0: error}
        for row in range(count):
            try:
                logits[row] = self._run_group(np.array([row]), None)[0]
            except Exception as own:
                failed[row] = own
        return logits, failed

    def prompt(self, row: int, ids: np.ndarray, stop: int, *, alone: bool = False) -> np.ndarray:
        """Tokens (1, T) of one row, of which the last is number `stop`. Returns logits (1, V)."""
        session = self._computing.widest(alone=alone)
        start = stop - ids.shape[1]
        past = [np.ascontiguousarray(cache[row : row + 1, :, :start]) for cache in self._rows.caches.values()]
        mask, places = np.ones((1, stop), np.int64), np.arange(start, stop)[None]
        logits, *present = session.run(self._outputs, self._inputs(ids, mask, places, past))
        for cache, grown in zip(self._rows.caches.values(), present, strict=True):
            cache[row, :, start:stop] = grown[0, :, start:]
        return logits[:, -1, : self.vocabulary]

    def warm(self) -> None:
        """Compute a token in an empty row, and another one behind it."""
        self.prompt(0, np.zeros((1, 1), np.int64), 1)
        self.begin_steps(np.zeros(1, np.int64), np.ones(1, np.int64), alone=False)
        self.step()
        self._carried = {}

    def _past_of(self, lengths: np.ndarray) -> np.ndarray:
        """The places before the new token of rows that hold so many tokens."""
        if not self._how.together:
            return lengths
        return np.minimum(-(-lengths // BLOCK) * BLOCK, self._rows.context - 1)

    def _groups(self) -> list[np.ndarray]:
        """The rows that share a run."""
        if not self._how.together:
            return list(np.arange(len(self._ids))[:, None])
        past = self._past_of(self._lengths)
        return [np.flatnonzero(past == places) for places in np.unique(past)]

    def _run_group(self, group: np.ndarray, carried: list[np.ndarray] | None) -> np.ndarray:
        """A step of rows with equally many places. Returns logits (n, V)."""
        rows = np.repeat(group, 2) if self._how.company and len(group) == 1 else group
        lengths = self._lengths[rows]
        places = int(self._past_of(lengths[:1])[0])
        past = self._past(rows, lengths, places, carried)
        mask = (np.arange(places + 1) >= places - lengths[:, None]).astype(np.int64)
        inputs = self._inputs(self._ids[rows, None], mask, lengths[:, None], past)
        logits, *present = self._computing.session.run(self._outputs, inputs)
        for cache, grown in zip(self._rows.caches.values(), present, strict=True):
            cache[group, :, lengths[: len(group)]] = grown[: len(group), :, -1]
        self._carried[group.tobytes()] = present
        return logits[: len(group), -1, : self.vocabulary]

    def _past(
        self, rows: np.ndarray, lengths: np.ndarray, places: int, carried: list[np.ndarray] | None
    ) -> list[np.ndarray]:
        """Keys and values of these rows, right-aligned in so many places; what was carried over has them already."""
        held = carried[0].shape[2] if carried else -1
        if carried and held == places:
            return carried
        if carried and held == places + 1:  # the first place is padding: a row fills its block before it gets another
            return [np.ascontiguousarray(present[:, :, 1:]) for present in carried]
        past = []
        for cache in self._rows.caches.values():
            aligned = np.zeros((len(rows), cache.shape[1], places, cache.shape[3]), cache.dtype)
            for own, row, length in zip(aligned, rows.tolist(), lengths.tolist(), strict=True):
                own[:, places - length :] = cache[row, :, :length]
            past.append(aligned)
        return past

    def _inputs(
        self, ids: np.ndarray, mask: np.ndarray, places: np.ndarray, past: Sequence[np.ndarray]
    ) -> dict[str, np.ndarray]:
        positions = {"position_ids": places} if self._takes_positions else {}
        return {
            "input_ids": np.ascontiguousarray(ids),
            "attention_mask": mask,
            **positions,
            **dict(zip(self._rows.caches, past, strict=True)),
        }

    def _blanks(self) -> list[dict[str, np.ndarray]]:
        """Inputs of steps and of prompts, on noise."""
        noise, length = np.random.default_rng(0), self._rows.context // 2

        def blank(rows: int, tokens: int) -> dict[str, np.ndarray]:
            past = [
                noise.standard_normal((rows, cache.shape[1], length, cache.shape[3])).astype(cache.dtype)
                for cache in self._rows.caches.values()
            ]
            places = np.tile(np.arange(length, length + tokens), (rows, 1))
            return self._inputs(
                np.zeros((rows, tokens), np.int64), np.ones((rows, length + tokens), np.int64), places, past
            )

        return [blank(rows, tokens) for rows, tokens in BLANKS if rows <= self._rows.count and tokens <= length]
