"""Texts of random lengths over HTTP, 16 at a time: useful tokens a second of continuous batching against whole batches.

    python -m benchmarks.text_http [--rounds 3] [--quick]

Prompts of 32 tokens, 8 to 192 new ones, greedily. In our engine, as it is: the next request comes when one has ended; and in
whole batches: 16 rows are stepped until the longest text has ended, and then the next 16 come. onnxruntime-genai stands behind a FastAPI route that gathers
static batches; the best of its batch sizes, threads and numbers of batches at once counts, by trials in turns before the rounds. It has
as many requests waiting as its batches hold. Tokens that nobody asked for, written because a batch-mate's text is longer, do not count.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import httpx
import numpy as np

from benchmarks.environments import versions
from benchmarks.harness import Comparison, interleaved
from benchmarks.load import Request
from benchmarks.models import CHARACTERS, MEDIUM, SMALL, TextSize, text_recipe
from benchmarks.results import installed, parse, publish
from benchmarks.search import best
from benchmarks.servers import NotReady, Served, ours, peer, together
from benchmarks.stamps import graphs
from benchmarks.text_one_stream import PROMPT, TINY, prepare, prompts

CLIENTS, REQUESTS = 16, 256  # of 64, a good part would be the tail, in which fewer than 16 are under way
LONGEST = 192
CONTINUOUS_BAR, PEER_BAR = 1.6, 1.5
SETTINGS = [
    {"batch": batch, "threads": threads, "runners": runners}
    for batch, threads, runners in ((8, 1, 2), (8, 2, 1), (16, 2, 1), (16, 1, 1), (1, 1, 2))
]


def asks(count: int) -> list[tuple[list[int], int]]:
    """Prompts (as ids) and lengths; the same ones each time."""
    new, rng = prompts(), np.random.default_rng(1)
    return [(next(new), int(rng.integers(8, LONGEST + 1))) for _ in range(count)]


def to_us(prompt: list[int], tokens: int) -> dict:
    """What our service is asked; it adds the token that starts a text."""
    text = "".join(CHARACTERS[i] for i in prompt[1:])
    return {"prompt": text, "max_tokens": tokens, "temperature": 0.0, "seed": 0}


def to_peer(prompt: list[int], tokens: int) -> dict:
    return {"prompt": prompt, "max_tokens": tokens}


async def send(port: int, bodies: list[dict], whole_groups: bool) -> float:
    """Seconds until all are answered, CLIENTS at a time. Raises httpx.HTTPStatusError."""
    waiting = iter(bodies)
    limits = httpx.Limits(max_connections=CLIENTS)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=300, limits=limits) as client:

        async def one(body: dict) -> None:
            (await client.post("/v1/completions", json=body)).raise_for_status()

        async def one_after_another() -> None:
            for body in waiting:
                await one(body)

        start = time.perf_counter()
        if whole_groups:
            for first in range(0, len(bodies), CLIENTS):
                await asyncio.gather(*map(one, bodies[first : first + CLIENTS]))
        else:
            await asyncio.gather(*(one_after_another() for _ in range(CLIENTS)))
        return time.perf_counter() - start


def rate(
    served: Served, body: Callable[[list[int], int], dict], count: int, *, whole_groups: bool = False
) -> Callable[[], float]:
    """Useful tokens a second of so many requests; in whole groups, every row of a batch goes on to the end of its longest."""
    wanted = asks(count)
    tokens = sum(length for _, length in wanted)
    if whole_groups:
        groups = [wanted[first : first + CLIENTS] for first in range(0, count, CLIENTS)]
        wanted = [(prompt, max(length for _, length in group)) for group in groups for prompt, _ in group]
    bodies = [body(*ask) for ask in wanted]
    return lambda: tokens / asyncio.run(send(served.port, bodies, whole_groups))


def request(body: dict) -> Request:
    return Request("/v1/completions", json.dumps(body).encode(), {"content-type": "application/json"})


def best_setting(model: Path, count: int, settings: list[dict]) -> dict:
    """The peer's fastest one, by trials of half of the requests. Raises NotReady where none gets up."""
    if len(settings) == 1:
        return settings[0]
    ready = request(to_peer([0] * PROMPT, 1))
    servers = {i: partial(peer, "genai", arguments(model, setting), ready) for i, setting in enumerate(settings)}
    with together(servers) as found:
        up = {i: served for i, served in found.items() if isinstance(served, Served)}
        if not up:
            raise NotReady("; ".join(map(str, found.values())))
        return settings[best({i: rate(served, to_peer, count // 2) for i, served in up.items()})]


def arguments(model: Path, setting: dict) -> list[str]:
    return ["--model", str(model), *(text for name, value in setting.items() for text in (f"--{name}", str(value)))]


def measure(size: TextSize, directory: Path, rounds: int, count: int, settings: list[dict]) -> list[Comparison]:
    """Both comparisons of one size."""
    chosen = best_setting(directory / "genai", count, settings)
    with ExitStack() as stack:
        ready = to_us(next(prompts()), 1) | {"model": text_recipe(size).name}
        served = stack.enter_context(ours(request(ready), directory))
        genai = stack.enter_context(
            peer("genai", arguments(directory / "genai", chosen), request(to_peer([0] * PROMPT, 1)))
        )

        def of_model(prompt: list[int], tokens: int) -> dict:
            return to_us(prompt, tokens) | {"model": text_recipe(size).name}

        figures = interleaved(
            {
                "continuous": rate(served, of_model, count),
                "whole": rate(served, of_model, count, whole_groups=True),
                "genai": rate(genai, to_peer, count),
            },
            rounds,
        )
    how = "genai, " + ", ".join(f"{name} {value}" for name, value in chosen.items())
    return [
        Comparison(
            size.name, "continuous", "whole batches of 16", "tokens/s", "higher", figures["continuous"],
            figures["whole"], CONTINUOUS_BAR,
        ),
        Comparison(size.name, "ours", how, "tokens/s", "higher", figures["continuous"], figures["genai"], PEER_BAR),
    ]  # fmt: skip


def main() -> None:
    ask = parse(__doc__, rounds=3)
    comparisons: list[Comparison] = []
    run: dict[str, str] = {}
    for size in (TINY,) if ask.quick else (SMALL, MEDIUM):
        with tempfile.TemporaryDirectory() as directory:
            prepare(size, Path(directory))
            run |= graphs(Path(directory) / text_recipe(size).name / "1")
            how = (1, CLIENTS, SETTINGS[:1]) if ask.quick else (ask.rounds, REQUESTS, SETTINGS)
            comparisons += measure(size, Path(directory), *how)
    if ask.quick:
        return
    publish(
        "text_http",
        f"{REQUESTS} texts of 8 to {LONGEST} tokens after prompts of {PROMPT}, {CLIENTS} clients, over HTTP.",
        comparisons,
        installed("onnxruntime-gpu", "bentoml") | versions("genai", "onnxruntime-genai", "fastapi"),
        graphs=run,
    )


if __name__ == "__main__":
    main()
