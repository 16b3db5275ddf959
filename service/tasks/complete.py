"""Complete: text that goes on where a prompt ends."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from contract import Capability
from service.engine.job import Job, RowCall, Sampling, SequenceCall, Token
from service.errors import Invalid
from service.model import LoadedModel
from service.samplers import noise
from service.tasks.tokens import encode


@dataclass(frozen=True)
class Request:
    """One completion of one prompt. `prompt` are its token ids (T,) without the start token.

    `index` tells the completions of a request apart: each has randomness of its own.
    """

    prompt: np.ndarray
    prompt_text: str
    index: int
    seed: int
    max_tokens: int
    sampling: Sampling
    stop: tuple[str, ...] = ()
    echo: bool = False
    logprobs: bool = False

    @property
    def work(self) -> float:
        """Tokens, at most."""
        return float(len(self.prompt) + self.max_tokens)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a completion: text that will not change any more, and the tokens that were chosen since the last."""

    index: int
    text: str
    tokens: tuple[tuple[str, Token | None], ...] = ()
    finish_reason: str | None = None


@dataclass(frozen=True)
class Completion:
    """A whole completion. `tokens` pairs each token's text with its log-probabilities, None for the very first."""

    index: int
    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    tokens: tuple[tuple[str, Token | None], ...] = field(default=())


def tokenize_prompt(model: LoadedModel, prompt: str) -> np.ndarray:
    """The prompt's token ids. Raises Invalid where it does not fit into the model's context."""
    ids = encode(model, prompt, "prompt")
    assert model.manifest.text is not None, "the contract asks for it"
    text = model.manifest.text
    if not len(ids) and not text.start:
        raise Invalid(f"prompt: expected a text, for model {model.id} has no token that starts one", field="prompt")
    room = text.context - len(text.start)
    if len(ids) > room:
        raise Invalid(f"prompt: {len(ids)} tokens, model {model.id} takes {room}: send its last {room}", field="prompt")
    return ids


def complete(model: LoadedModel, request: Request, emit: Callable[[Piece], None] | None = None) -> Job:
    """Generate a completion. Returns a Completion; `emit` is given its parts as soon as they are certain.

    When the context is full the sequence starts over with the later half of what it has, so a completion can be longer
    than the context.
    """
    text = model.manifest.text
    assert text is not None, "the contract asks for it"
    assert model.tokenizer is not None, "the contract asks for it"
    uniform = noise.uniform(request.seed, request.index, max(1, request.max_tokens))
    history = [*text.start, *request.prompt.tolist()]
    writer = _Writer(model.tokenizer, text.end_token, request, emit)
    if request.echo:
        scored: list[Token | None] = [None] * len(request.prompt)
        if request.logprobs and len(request.prompt):
            scored = yield from _prompt_log_probs(model, history)
        writer.echo(scored)
    # Without a listener the engine writes the whole text without a word of ours.
    listen = writer.add if emit or request.stop or request.logprobs else None
    prompt, written = np.array(history, np.int64), 0
    while written < request.max_tokens:
        room = text.context + 1 - len(prompt)
        ids: np.ndarray = yield SequenceCall(
            prompt,
            uniform[written : min(request.max_tokens, written + room)],
            request.sampling,
            end_token=text.end_token,
            listen=listen,
            resumes=written > 0,
        )
        if listen is None:
            writer.write(ids.tolist())
        if writer.stopped:
            return writer.close("stop")
        written += len(ids)
        prompt = np.concatenate([prompt, ids])[-max(1, text.context // 2) :]
    return writer.close("length")


def _prompt_log_probs(model: LoadedModel, sequence: list[int]) -> Job:
    """The log-probability of each prompt token. Returns a list of Tokens."""
    ids = np.array([sequence], np.int64)
    lengths = np.array([len(sequence)], np.int64)
    outputs = yield RowCall(Capability.LOG_DENSITY, {"input_ids": ids, "lengths": lengths})
    found = outputs["log_prob_map"][0, 1:]
    return [Token(token, float(value)) for token, value in zip(sequence[1:], found, strict=True)]


class _Writer:
    """Turns tokens into text, holding back what may still become a stop string."""

    def __init__(
        self, tokenizer: Tokenizer, end_token: int | None, request: Request, emit: Callable[[Piece], None] | None
    ) -> None:
        self.stopped = False
        self._tokenizer = tokenizer
        self._end_token = end_token
        self._request = request
        self._emit = emit
        self._decode = DecodeStream(skip_special_tokens=True)
        self._text = ""
        self._sent = 0
        self._search_from = 0
        self._tokens: list[tuple[str, Token | None]] = []
        self._tokens_sent = 0
        self._generated = 0

    def echo(self, scored: list[Token | None]) -> None:
        for token_id, token in zip(self._request.prompt.tolist(), scored, strict=True):
            self._tokens.append((self._tokenizer.decode([token_id]), token))
        self._text = self._request.prompt_text
        self._search_from = len(self._text)
        self._send(len(self._text))

    def write(self, ids: list[int]) -> None:
        """Take in what was written while nobody listened, and nothing but the end token could end it."""
        if ids and ids[-1] == self._end_token:
            self.stopped = True
            ids = ids[:-1]
        step, tokenizer = self._decode.step, self._tokenizer
        self._text += "".join([step(tokenizer, token) or "" for token in ids])
        self._generated += len(ids)

    def add(self, token: Token) -> bool:
        """Take a token in. Returns whether it is the last: the end token, or the end of a stop string."""
        self.stopped = self._take(token)
        return self.stopped

    def _take(self, token: Token) -> bool:
        if token.id == self._end_token:
            return True
        self._generated += 1
        part = self._decode.step(self._tokenizer, token.id) or ""
        self._text += part
        if self._request.logprobs:
            self._tokens.append((part, token))
        new_from = len(self._text) - len(part)
        found = (self._text.find(s, max(self._search_from, new_from - len(s))) for s in self._request.stop)
        if cuts := [at for at in found if at >= 0]:
            self._text = self._text[: min(cuts)]
            return True
        held = 0
        for stop in self._request.stop:
            longest = min(len(stop) - 1, len(self._text) - self._search_from)
            held = max([held, *(n for n in range(1, longest + 1) if self._text.endswith(stop[:n]))])
        self._send(len(self._text) - held)
        return False

    def close(self, reason: str) -> Completion:
        self._send(len(self._text), reason)
        return Completion(
            self._request.index,
            self._text,
            reason,
            len(self._request.prompt),
            self._generated,
            tuple(self._tokens),
        )

    def _send(self, upto: int, reason: str | None = None) -> None:
        if self._emit is None or (upto <= self._sent and reason is None):
            return
        tokens = tuple(self._tokens[self._tokens_sent :])
        self._tokens_sent = len(self._tokens)
        self._emit(Piece(self._request.index, self._text[self._sent : upto], tokens, reason))
        self._sent = max(self._sent, upto)
