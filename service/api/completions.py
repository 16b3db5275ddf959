"""Route of completions, in OpenAI's shape: whole, or as server-sent events."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from contract import Capability
from service.api import answer, asked, body
from service.api.aside import aside
from service.api.events import Events, event
from service.api.results import results
from service.api.state import State, state_of
from service.api.waiting import Pending
from service.engine.job import Sampling
from service.errors import AmostraError, Invalid, TooLarge
from service.model import LoadedModel
from service.samplers import noise
from service.schemas import CompletionBody
from service.settings import Settings
from service.tasks import complete as completing

DEFAULT_MAX_TOKENS = 16
_INLINE_LOG_PROBS = 1000


async def complete(request: Request) -> Response:
    """Complete one prompt or several."""
    state = state_of(request)
    ask = await body.read_json(request, CompletionBody, state.settings)
    model = await asked.model(request, state, ask.model, "complete")
    requests = await aside(body.is_much(request), requests_of, model, ask, state.settings)
    head = {
        "id": f"cmpl-{request.scope['amostra.request_id']}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": model.id,
        "system_fingerprint": f"{model.id}@{model.version}",
        "seed": requests[0].seed,
    }
    return await (_stream if ask.stream else _whole)(request, state, model, requests, ask, head)


async def _whole(
    request: Request,
    state: State,
    model: LoadedModel,
    requests: list[completing.Request],
    ask: CompletionBody,
    head: dict[str, Any],
) -> Response:
    jobs = [(completing.complete(model, r), r.work) for r in requests]
    seed = ask.seed if ask.temperature > 0 else 0
    same = None if seed is None else [replace(r, seed=seed) for r in requests]
    done: list[completing.Completion] = await results(request, state, model, "complete", jobs, same)
    much = sum(len(c.tokens) for c in done) * (ask.logprobs or 1) > _INLINE_LOG_PROBS
    choices = await aside(much, choices_of, model, done, ask.logprobs is not None)
    return answer.json({**head, "choices": choices, "usage": usage_of(done, ask.n)})


def choices_of(model: LoadedModel, done: list[completing.Completion], with_logprobs: bool) -> list[dict[str, Any]]:
    return [
        {
            "index": i,
            "text": c.text,
            "finish_reason": c.finish_reason,
            "logprobs": _logprobs(model, c.tokens, 0, len(c.text)) if with_logprobs else None,
        }
        for i, c in enumerate(done)
    ]


async def _stream(
    request: Request,
    state: State,
    model: LoadedModel,
    requests: list[completing.Request],
    ask: CompletionBody,
    head: dict[str, Any],
) -> Response:
    queue: asyncio.Queue = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def emit(piece: completing.Piece) -> None:
        loop.call_soon_threadsafe(queue.put_nowait, piece)

    jobs = [(completing.complete(model, r, emit), r.work) for r in requests]
    # Made here, so that a full queue is a 429 and not the first event.
    pending = Pending(state, request, model, jobs)
    with_usage = bool((ask.stream_options or {}).get("include_usage"))

    async def events() -> AsyncIterator[bytes]:
        offsets = [0] * len(requests)
        try:
            async for piece in pending.events(queue):
                logprobs = None
                if ask.logprobs is not None:
                    logprobs = _logprobs(model, piece.tokens, offsets[piece.index], None)
                offsets[piece.index] += len(piece.text)
                choice = {
                    "index": piece.index,
                    "text": piece.text,
                    "finish_reason": piece.finish_reason,
                    "logprobs": logprobs,
                }
                yield event({**head, "choices": [choice]})
            if with_usage:
                yield event({**head, "choices": [], "usage": usage_of(pending.ended(), ask.n)})
        except AmostraError as error:
            request.scope["amostra.error"] = error
            yield event(error.body(request.scope["amostra.request_id"]))
        yield b"data: [DONE]\n\n"

    return Events(pending, events())


def requests_of(model: LoadedModel, ask: CompletionBody, settings: Settings) -> list[completing.Request]:
    prompts = [ask.prompt] if isinstance(ask.prompt, str) else ask.prompt
    if not 0 < len(prompts) * ask.n <= settings.max_prompts:
        raise TooLarge(
            f"prompt: {len(prompts)} prompts × n = {ask.n}, the limit is 1 to {settings.max_prompts} completions: "
            "send several requests",
            field="n",
        )
    longest = max(map(len, prompts))
    if longest > settings.max_text_characters:
        raise TooLarge(
            f"prompt: {longest} characters, the limit is {settings.max_text_characters}: send its end", field="prompt"
        )
    max_tokens = DEFAULT_MAX_TOKENS if ask.max_tokens is None else ask.max_tokens
    if max_tokens > settings.max_tokens:
        raise TooLarge(
            f"max_tokens: {max_tokens}, the limit is {settings.max_tokens}: ask for less", field="max_tokens"
        )
    if ask.echo and ask.logprobs is not None and not model.gives(Capability.LOG_DENSITY, "log_prob_map"):
        raise Invalid(f"logprobs: model {model.id} cannot score a prompt: leave echo out", field="logprobs")
    sampling = Sampling(ask.temperature, ask.top_p, ask.top_k, ask.logprobs)
    seed = noise.draw_seed() if ask.seed is None else ask.seed
    stop = (ask.stop,) if isinstance(ask.stop, str) else tuple(ask.stop or ())
    tokenized = [(text, completing.tokenize_prompt(model, text)) for text in prompts]
    return [
        completing.Request(
            ids, text, p * ask.n + i, seed, max_tokens, sampling, stop, ask.echo, ask.logprobs is not None
        )
        for p, (text, ids) in enumerate(tokenized)
        for i in range(ask.n)
    ]


def _logprobs(model: LoadedModel, tokens: Any, offset: int, end: int | None) -> dict[str, Any]:
    """OpenAI's four parallel lists. Tokens that a stop string cut off are left out."""
    assert model.tokenizer is not None, "the contract asks for it"
    lists: dict[str, list] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
    for text, token in tokens:
        if end is not None and offset >= end:
            break
        lists["tokens"].append(text)
        lists["token_logprobs"].append(None if token is None else token.log_prob)
        top = {model.tokenizer.decode([t]): v for t, v in token.top} if token is not None and token.top else None
        lists["top_logprobs"].append(top)
        lists["text_offset"].append(offset)
        offset += len(text)
    return lists


def usage_of(done: list[completing.Completion], n: int) -> dict[str, int]:
    """A prompt is counted once for all of its completions."""
    prompt = sum(c.prompt_tokens for c in done[::n])
    completion = sum(c.completion_tokens for c in done)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
