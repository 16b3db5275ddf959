"""Runs a job with plain functions in place of the engine."""

from collections.abc import Callable
from typing import Any

import numpy as np

from service.engine.job import Call, Job, RowCall, Token, TokenCall
from service.engine.rows import RowRunner
from service.engine.scheduler import Batch, Lane, Piece, Work
from service.engine.sequences import SequenceRunner
from service.model import LoadedModel
from service.samplers.tokens import choose, log_softmax


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
    history: list[int] = []
    state: dict[str, Any] = {}

    def answer(call: Call) -> Any:
        runner = model.runners[call.capability]
        if isinstance(call, RowCall):
            assert isinstance(runner, RowRunner)
            lane = Lane("model", "shape", call.size)
            pieces = [Piece(Work("a", call, lane), i, i + 1) for i in range(call.size)]
            parts = [runner.run(Batch(lane, (piece,)))[0][0] for piece in pieces]
            return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        assert isinstance(runner, SequenceRunner)
        if call.sampling is not None:
            history.clear()
            state["sampling"] = call.sampling
        history.extend(call.tokens.tolist())
        return next_token(runner, history, state["sampling"], call)

    return answer


def next_token(runner: SequenceRunner, history: list[int], sampling: Any, call: TokenCall) -> Token:
    """The slow, obvious next token: everything so far at once, on an empty cache."""
    empty = {name: np.zeros_like(cache[:1]) for name, cache in runner._caches.items()}
    feed = {
        "input_ids": np.array([history], np.int64),
        "seqlens_k": np.array([len(history) - 1], np.int32),
        "total_sequence_length": np.array(len(history), np.int32),
    }
    logits = runner._session.run(["logits"], {**feed, **empty})[0]
    settings = (sampling.temperature, sampling.top_k, sampling.top_p, call.uniform)
    token = int(choose(logits, *(np.array([s]) for s in settings))[0])
    log_prob = log_softmax(logits)[0]
    best = np.argsort(-log_prob, kind="stable")[: sampling.top_logprobs]
    return Token(token, float(log_prob[token]), tuple((int(t), float(log_prob[t])) for t in best))
