"""Runs a text graph: a key/value buffer with a row for each sequence, prompts in chunks, one step for all rows.

All that a row needs to go on (what it holds, its settings, its randomness) lies in arrays, so that the work of a step does not
grow with Python's share in it; a listener is called for the rows that have one.

A row that is free keeps what it holds. A prompt that begins as some row does, live or free, takes those keys and values
over: a system prompt is computed once, and so is the prompt of several completions.

A graph that needs no past, a bigram's, has no buffer; its sequences are served in the same way.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import repeat

import numpy as np
import onnxruntime as ort

from service.engine.batch import Batch, Work
from service.engine.concatenating_graph import ConcatenatingGraph, Concatenation
from service.engine.device_text import DeviceTokenGraph
from service.engine.held_rows import NONE, Rows
from service.engine.job import Arrays, LoneCall, Token
from service.engine.members import Members, call_of
from service.engine.token_graph import TokenGraph
from service.engine.width import Widen
from service.errors import ModelFailed
from service.samplers.tokens import Choice, log_softmax

_STRETCH = 128  # steps


@dataclass
class Progress:
    """What a batch did. `ended` are works with the ids that they wrote, or with what went wrong; `prompt_done` says that
    the prompt is computed and its first token chosen; `steps` and `tokens` count, `prompt_tokens` those of prompts that
    were computed, `reused_tokens` those that were taken over."""

    ended: list[tuple[Work, np.ndarray | Exception]] = field(default_factory=list)
    prompt_done: bool = False
    steps: int = 0
    tokens: int = 0
    prompt_tokens: int = 0
    reused_tokens: int = 0


class SequenceRunner:
    """One `next_token` graph and its sequences. Called by one thread at a time.

    `company` is for graphs of which a row differs in its last bits where it is alone in a step: row 0 then belongs to
    nobody and keeps it company. Where rows are not `together`, each takes its steps alone. `reuse` lets prompts take over
    what rows hold. `chunk` bounds the prompt tokens of a batch. `widen` makes a session of the same graph with a thread for
    each core, for steps that are alone. `concatenation` is of graphs whose caches grow; with it, `company` and `together` are
    the graph's own affair. `there` is the graph on another device, with its rows.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        slots: int,
        context: int,
        *,
        chunk: int = 64,
        company: bool = False,
        together: bool = True,
        reuse: bool = True,
        widen: Widen | None = None,
        concatenation: Concatenation | None = None,
        there: DeviceTokenGraph | None = None,
    ) -> None:
        self.slots = slots
        self.context = context
        self._chunk = chunk
        self._reuse = reuse
        self._first = int(company)
        self.rows = rows = Rows(session, self._first, slots, context) if there is None else there.rows
        self._graph: TokenGraph | ConcatenatingGraph | DeviceTokenGraph
        if there is not None:
            self._graph = there
        elif concatenation is None:
            self._graph = TokenGraph(session, rows, self._first, widen, together=together)
        else:
            self._graph = ConcatenatingGraph(session, rows, concatenation, widen)
        self._members = Members(rows, self._first)

    @property
    def parts(self) -> "tuple[SequenceRunner, ...]":
        """Itself: see SequenceParts."""
        return (self,)

    @property
    def bytes(self) -> int:
        """Memory of the key/value buffers."""
        return self.rows.memory.nbytes

    def run(self, batch: Batch, go_on: Callable[[], bool] = lambda: False) -> Progress:
        """Compute a part of a prompt, or a step of all sequences, and more of them while none has ended and `go_on()`."""
        for owner in batch.left:
            self._members.leave(owner)
        if batch.prompt is not None:
            return self._prefill(batch.prompt, alone=batch.alone)
        self._members.gather(batch.live)
        held, rows = self.rows, self._members.stepping
        length = held.length[rows]
        self._graph.begin_steps(held.tokens[held.numbers[rows], length], length, alone=batch.alone)
        progress, more = Progress(), True
        while more and not progress.ended:
            more = self._stretch(go_on, progress)
        self._graph.end_steps(progress.steps)
        return progress

    def run_each(self, batch: Batch) -> tuple[list[Arrays | Exception], int]:
        """Run lone calls, as RowRunner.run_each does its pieces. No sequence is touched: any thread may, at any time."""
        session = self._graph.session
        names = [output.name for output in session.get_outputs()]
        answers: list[Arrays | Exception] = []
        for piece in batch.pieces:
            assert isinstance(piece.work.call, LoneCall), "the engine sends us nothing else"
            try:
                answers.append(dict(zip(names, session.run(names, piece.work.call.inputs), strict=True)))
            except Exception as error:  # whatever the runtime raises
                answers.append(error)
        return answers, 0

    def warm(self) -> None:
        """Compute a token in an empty slot."""
        self._graph.warm()

    def _prefill(self, work: Work, *, alone: bool) -> Progress:
        call, held, members = call_of(work), self.rows, self._members
        row = members.free
        progress = Progress()
        if members.prompt is not work:
            held.begin(row, call, reuse=self._reuse)
            members.prompt = work
            progress.reused_tokens = int(held.length[row])
        start, size = int(held.length[row]), len(call.prompt)
        stop = start + _part(size - start, self._chunk)
        progress.prompt_tokens = stop - start
        try:
            logits = self._graph.prompt(row, held.tokens[row : row + 1, start:stop], stop, alone=alone)
        except Exception as error:  # whatever the runtime raises fails this sequence alone
            return self._prompt_failed(work, row, error, progress)
        held.length[row] = stop
        if stop - start > 1:
            held.shareable[row] = stop
        if stop == size:
            members.join()
            progress.prompt_done = True
            failed: dict[int, Exception] = {}
            own, choice = (slice(row, row + 1), stop), held.choice(slice(row, row + 1))
            ids = self._chosen(choice, logits, held.uniform[own], held.given[own], failed)
            held.tokens[own] = ids
            over = self._told(row, logits, ids, failed)
            progress.tokens += not failed
            self._end(row, over, failed, progress)
        return progress

    def _prompt_failed(self, work: Work, row: int, error: Exception, progress: Progress) -> Progress:
        self._members.prompt = None
        self.rows.shareable[row] = 0  # nobody may take over what was half computed
        progress.ended.append((work, error))
        return progress

    def _stretch(self, go_on: Callable[[], bool], progress: Progress) -> bool:
        """Take steps, up to a number in which none comes to its last token before the last of them. What the rows need
        for all of these is taken out at once, and what they wrote put in at once. Returns whether to go on."""
        held, members = self.rows, self._members
        rows = members.stepping
        numbers, length = held.numbers[rows, None], held.length[rows, None]
        most = min(_STRETCH, int((held.stop_at[rows, None] - length).min()) - 1)
        places = length + np.arange(1, most + 1)  # (n, most)
        uniform = held.uniform[numbers, places].T if members.choice.sampled else repeat(None, most)  # (most, n)
        given = held.given[numbers, places].T if members.giving else repeat(None, most)  # (most, n)
        written: list[np.ndarray] = []  # (n,) each
        failed: dict[int, Exception] = {}
        for randomness, known in zip(uniform, given, strict=True):
            try:
                logits = self._graph.step()
            except Exception as error:  # a step can be repeated: each row writes the same place again
                logits, failed = self._graph.step_alone(error)
            ids = self._chosen(members.choice, logits, randomness, known, failed)
            written.append(ids)
            self._graph.feed(ids)
            over = self._told(self._first, logits, ids, failed)
            more = not failed and (over is None or not over.any()) and go_on()
            if not more:
                break
        steps = len(written)
        held.tokens[numbers, places[:, :steps]] = np.array(written).T
        held.length[rows] += steps
        progress.steps += steps
        progress.tokens += steps * len(ids) - len(failed)
        self._end(self._first, over, failed, progress)
        return more

    def _chosen(
        self,
        choice: Choice,
        logits: np.ndarray,
        uniform: np.ndarray | None,
        given: np.ndarray | None,
        failed: dict[int, Exception],
    ) -> np.ndarray:
        """The next tokens of rows, (B,): logits (B, V), uniform and given (B,), where they are needed. `failed` gets what
        went wrong, by the row's place."""
        if not math.isfinite(np.add.reduce(logits, axis=None)):
            sound = np.isfinite(logits).all(axis=-1)
            logits = np.where(sound[:, None], logits, 0.0)
            for i in np.flatnonzero(~sound).tolist():
                failed.setdefault(i, ModelFailed("the model returned logits that are not finite"))
        ids = choice(logits, uniform)
        return ids if given is None else np.where(given == NONE, ids, given)

    def _told(self, low: int, logits: np.ndarray, ids: np.ndarray, failed: dict[int, Exception]) -> np.ndarray | None:
        """Tell listeners of the rows from `low` on. Returns which rows are over by what was written, None for none."""
        if not self._members.heard:
            return None
        over = ids == self.rows.end_token[low : low + len(ids)]
        listening = [heard for heard in self._members.listeners(low, len(ids)) if heard[0] not in failed]
        tokens = _tokens([(i, call.sampling.logprobs) for i, call, _ in listening], logits, ids)
        for (i, _, listen), token in zip(listening, tokens, strict=True):
            try:
                over[i] |= listen(token)
            except Exception as error:
                failed[i] = error
        return over

    def _end(self, low: int, over: np.ndarray | None, failed: dict[int, Exception], progress: Progress) -> None:
        """Let those of the rows from `low` on go that are over or at their last token, with what they wrote, and those that
        failed, with what went wrong."""
        members = self._members
        stepped = slice(low, members.stepping.stop)
        last = self.rows.length[stepped] + 1 == self.rows.stop_at[stepped]
        ended: list[tuple[Work, np.ndarray | Exception]] = []
        for i in np.flatnonzero(last if over is None else last | over).tolist():
            if i not in failed:
                work, row = members.work(low + i), low + i
                ids = self.rows.tokens[row, len(call_of(work).prompt) : int(self.rows.length[row]) + 1]
                ended.append((work, ids.copy()))
        ended += [(members.work(low + i), error) for i, error in failed.items()]
        for work, result in ended:
            row = members.leave(work.owner)
            if isinstance(result, Exception):
                self.rows.shareable[row] = 0  # nobody may take over what may be broken
        progress.ended += ended


def _part(left: int, chunk: int) -> int:
    """How many of the prompt's tokens that are left to compute at once. One token alone, and one behind a multiple of
    16, take another path through the kernels and differ in the last bits: none is left alone, and no part ends so."""
    part = min(left, chunk)
    return part - 2 if part > 2 and (left - part == 1 or part % 16 == 1) else part


def _tokens(asked: list[tuple[int, int | None]], logits: np.ndarray, ids: np.ndarray) -> list[Token]:
    """The tokens of some places, with as many log-probabilities as each asked for. logits (B, V), ids (B,)."""
    places = [i for i, wanted in asked if wanted is not None]
    if not places:
        return [Token(int(ids[i]), math.nan) for i, _ in asked]
    log_prob = log_softmax(logits[places])
    best = np.argsort(-log_prob, axis=-1, kind="stable")[:, : max(wanted or 0 for _, wanted in asked)]
    found = zip(log_prob, best.tolist(), np.take_along_axis(log_prob, best, axis=-1).tolist(), strict=True)
    tokens = []
    for i, wanted in asked:
        chosen = int(ids[i])
        if wanted is None:
            tokens.append(Token(chosen, math.nan))
            continue
        row, likeliest, theirs = next(found)
        own = float(row[chosen]) if chosen < len(row) else -math.inf  # given, and nothing that it would choose
        tokens.append(Token(chosen, own, tuple(zip(likeliest[:wanted], theirs[:wanted], strict=True))))
    return tokens
