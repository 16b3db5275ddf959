"""The results of a request's jobs: kept from the same request before, or computed now."""

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request

from service.api import body
from service.api.aside import aside
from service.api.state import State
from service.api.waiting import Pending
from service.engine.job import Job
from service.model import LoadedModel
from service.result_cache import digest


async def results(
    request: Request, state: State, model: LoadedModel, task: str, jobs: Sequence[tuple[Job, float]], same: Any
) -> list[Any]:
    """Run the jobs of one request and wait for all of their results; those of a kept result are never begun.

    `same` is all that the results follow from beside the model and the task; None where they differ from request to
    request. The answer's header `x-amostra-cache` says what happened where results are kept.
    """
    cache, key = state.results, None
    if cache.max_bytes and same is not None:
        key = await aside(body.is_much(request), digest, model.content, task, same)
        found = cache.get(key)
        request.scope["amostra.cache"] = "miss" if found is None else "hit"
        if found is not None:
            state.metrics.cache_hits.labels(model.id).inc()
            return found
        state.metrics.cache_misses.labels(model.id).inc()
    with Pending(state, request, model, jobs) as pending:
        done = await pending.results()
    if key is not None:
        cache.put(key, done)
        state.metrics.cache_bytes.set(cache.bytes)
    return done
