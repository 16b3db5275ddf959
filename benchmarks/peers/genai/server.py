"""onnxruntime-genai behind a FastAPI route: requests are gathered into static batches, which end with their longest text.

    python -m benchmarks.peers.genai.server --port 3000 --model <directory> --batch 16 --wait-ms 5 --threads 1 --runners 1

Prompts of one batch must be of one length, as in the benchmark all are: nothing is lost on padding.
"""

import argparse
import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.peers.genai.text import load, write


class Ask(BaseModel):
    prompt: list[int]
    max_tokens: int


def application(model: str, batch: int, wait_ms: float, threads: int, runners: int) -> FastAPI:
    """The application, with one batch under way on each of so many runners."""
    app = FastAPI()
    loaded = load(model, threads)
    pool = ThreadPoolExecutor(runners)
    waiting: asyncio.Queue[tuple[Ask, asyncio.Future[list[int]]]] = asyncio.Queue()
    tasks: list[asyncio.Task] = []

    async def gather() -> list[tuple[Ask, asyncio.Future[list[int]]]]:
        """The next batch: the first that waits, and those that come in time."""
        found = [await waiting.get()]
        until = asyncio.get_running_loop().time() + wait_ms / 1e3
        while len(found) < batch:
            try:
                async with asyncio.timeout_at(until):
                    found.append(await waiting.get())
            except TimeoutError:
                break
        return found

    async def serve() -> None:
        while True:
            found = await gather()
            prompts = np.array([ask.prompt for ask, _ in found], np.int32)
            longest = max(ask.max_tokens for ask, _ in found)
            loop = asyncio.get_running_loop()
            texts = await loop.run_in_executor(pool, write, loaded, prompts, longest)
            for (ask, answer), text in zip(found, texts.tolist(), strict=True):
                if not answer.done():
                    answer.set_result(text[: ask.max_tokens])

    @app.on_event("startup")
    async def start() -> None:
        tasks.extend(asyncio.create_task(serve()) for _ in range(runners))

    @app.post("/v1/completions")
    async def complete(ask: Ask) -> dict:
        answer: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        await waiting.put((ask, answer))
        return {"tokens": await answer}

    return app


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--wait-ms", type=float, default=5.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runners", type=int, default=1)
    ask = parser.parse_args()
    app = application(ask.model, ask.batch, ask.wait_ms, ask.threads, ask.runners)
    uvicorn.run(app, host="127.0.0.1", port=ask.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
