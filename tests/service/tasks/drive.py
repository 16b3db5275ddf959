"""Runs a job with plain functions in place of the engine."""

from collections.abc import Callable
from typing import Any

import numpy as np

from service.engine.batch import Batch, Lane, Piece, Work
from service.engine.job import Call, Job, RowCall, Sampling, SequenceCall, Token
from service.engine.rows import RowRunner
from service.engine.sequence_parts import Sequences
from service.model import LoadedModel
from service.samplers.tokens import Choice, log_softmax


def drive(job: Job, answer: Callable[[Call], Any]) -> Any:
    """Give the job an answer to each of its calls. Returns its result."""
    value = None
    while True:
        try:
            call = job.send(value)
        except StopIteration as stop:
            return stop.value
        value = answer(call)


def on(model: LoadedModel) -> Callable[[Call], Any]:
    """Answers with the model's own graphs, one call at a time; text from scratch at each token, without a cache."""

    def answer(call: Call) -> Any:
        runner = model.runners[call.capability]
        if isinstance(call, RowCall):
            assert isinstance(runner, RowRunner)
            lane = Lane("model", "shape", call.size)
            pieces = [Piece(Work("a", call, lane), i, i + 1) for i in range(call.size)]
            parts = [runner.run(Batch(lane, (piece,)))[0][0] for piece in pieces]
            return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        assert isinstance(runner, Sequences)
        return write(runner, call)

    return answer


def write(runner: Sequences, call: SequenceCall) -> np.ndarray:
    """The slow, obvious sequence. Returns the ids that follow the prompt."""
    assert call.size <= runner.context + 1
    ids: list[int] = []
    for n, uniform in enumerate(call.uniform):
        token = next_token(runner, [*call.prompt.tolist(), *ids], call.sampling, uniform)
        known = -1 if call.given is None else int(call.given[n])
        ids.append(token.id if known < 0 else known)
        if ids[-1] == call.end_token or (call.listen is not None and call.listen(token)):
            break
    return np.array(ids)


def next_token(runner: Sequences, history: list[int], sampling: Sampling, uniform: float) -> Token:
    """The slow, obvious next token: everything so far at once, on an empty cache."""
    logits = logits_after(runner, history)
    settings = (np.array([s]) for s in (sampling.temperature, sampling.top_k, sampling.top_p))
    token = int(Choice(*settings)(logits, np.array([uniform]))[0])
    log_prob = log_softmax(logits)[0]
    best = np.argsort(-log_prob, kind="stable")[: sampling.logprobs or 0]
    return Token(token, float(log_prob[token]), tuple((int(t), float(log_prob[t])) for t in best))


def logits_after(runner: Sequences, history: list[int]) -> np.ndarray:
    """(1, V), of a row alone."""
    feed = {
        "input_ids": np.array([history], np.int64),
        "seqlens_k": np.array([len(history) - 1], np.int32),
        "total_sequence_length": np.array(len(history), np.int32),
    }
    (part, *_) = runner.parts
    empty = {name: np.zeros_like(cache[:1]) for name, cache in part.rows.caches.items()}
    return part._graph.session.run(["logits"], {**feed, **empty})[0]
