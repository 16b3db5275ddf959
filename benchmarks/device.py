"""On a GPU: our engine's steps against torch.compile with CUDA graphs on the same weights; without one it says so and ends.

    python -m benchmarks.device [--rounds 5] [--quick]

Milliseconds of one step of diffusion at 1, 8, 64 and 256 rows, images a second of as many in 20 steps, and tokens a second of
as many texts of 96 tokens after prompts of 32, both from the request to the last answer. Our steps are copied to the device
and back, torch's stay there. Keys and values stay there on both sides, ours in float16, torch's in float32; torch steps all rows
at once over a key/value cache of fixed size.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.harness import Comparison, interleaved
from benchmarks.in_process import InProcess
from benchmarks.models import CHARACTERS, MEDIUM, diffusion_model, text_model
from benchmarks.results import installed, parse, publish
from benchmarks.stamps import graphs
from benchmarks.torch_diffusion import walk
from contract import Capability
from service.engine.batch import Batch, Lane, Piece, Work
from service.engine.job import Sampling
from service.engine.rows import RowRunner
from service.providers import find_device
from service.settings import Settings
from service.tasks import complete, diffuse, generate
from training.layers.transformer import rms_norm
from training.models.gpt import GPT

SIZES = (1, 8, 64, 256)
STEPS, PROMPT, TOKENS = 20, 32, 96
REPEATS = 50
BAR = 1.0


def our_images(engine: InProcess, rows: int) -> float:
    """Images a second, each a request."""
    asks = [generate.Ask(1, seed, label=seed % 10, steps=STEPS) for seed in range(rows)]
    jobs = [job for ask in asks for job in generate.draw(engine.model, generate.plan(engine.model, ask))]
    start = time.perf_counter()
    engine.run(jobs)
    return rows / (time.perf_counter() - start)


def our_step(engine: InProcess, rows: int) -> float:
    """Milliseconds of one batch, from host memory to host memory."""
    runner = engine.model.runners[Capability.DENOISE_STEP]
    assert isinstance(runner, RowRunner)
    lane = Lane("", "", rows)
    call = diffuse.call(engine.model, np.zeros((rows, 1, 28, 28), np.float32), 1.0, np.arange(rows) % 10)
    batch = Batch(lane, (Piece(Work(0, call, lane), 0, rows),))
    start = time.perf_counter()
    for _ in range(REPEATS):
        runner.run(batch)
    return 1e3 * (time.perf_counter() - start) / REPEATS


@torch.inference_mode()
def torch_step(denoise: Callable[..., Tensor], rows: int) -> float:
    """Milliseconds of the same, in device memory."""
    x, sigma = torch.zeros(rows, 1, 28, 28, device="cuda"), torch.ones(rows, device="cuda")
    label = torch.arange(rows, device="cuda") % 10
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(REPEATS):
        torch.compiler.cudagraph_mark_step_begin()
        denoise(x, sigma, label)
        torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - start) / REPEATS


def torch_images(denoise: Callable[..., Tensor], engine: InProcess, rows: int) -> float:
    course = generate.plan(engine.model, generate.Ask(1, 0, label=0, steps=STEPS)).course
    assert course is not None
    noise = torch.randn(rows, 1, 28, 28, device="cuda")
    start = time.perf_counter()
    walk(denoise, noise, list(course.sigmas), torch.arange(rows, device="cuda") % 10).cpu()
    return rows / (time.perf_counter() - start)


def our_texts(engine: InProcess, rows: int) -> float:
    """Tokens a second of so many requests."""
    rng = np.random.default_rng(time.monotonic_ns())
    asks = [
        complete.Request(rng.integers(1, len(CHARACTERS), PROMPT - 1), "", 0, i, TOKENS, Sampling(temperature=0.0))
        for i in range(rows)
    ]
    jobs = [(complete.complete(engine.model, ask), ask.work) for ask in asks]
    start = time.perf_counter()
    engine.run(jobs)
    return rows * TOKENS / (time.perf_counter() - start)


class Step:
    """One token for all rows at a place that is a tensor, so that every step is the same graph."""

    def __init__(self, gpt: GPT, rows: int):
        attention = gpt.blocks[0].attention
        shape = (len(gpt.blocks), 2, rows, attention.kv_heads, len(gpt.cos), attention.size)
        self.gpt, self.cache = gpt, torch.zeros(shape, device=gpt.cos.device)
        self.places = torch.arange(len(gpt.cos), device=gpt.cos.device)

    def __call__(self, input_ids: Tensor, place: Tensor) -> Tensor:
        """Tokens (B, 1) at place (1,). Returns logits (B, V)."""
        gpt, seen = self.gpt, (self.places <= place)[None, None, None]  # (1, 1, 1, context)
        cos, sin = gpt.cos[place], gpt.sin[place]
        x = rms_norm(gpt.embedding(input_ids))
        for block, (keys, values) in zip(gpt.blocks, self.cache, strict=True):
            q, k, v = block.attention.rotated(rms_norm(x), cos, sin)
            keys.index_copy_(2, place, k)
            values.index_copy_(2, place, v)
            y = F.scaled_dot_product_attention(q, keys, values, attn_mask=seen, enable_gqa=True)
            x = x + block.attention.out(y.transpose(1, 2).flatten(2))
            x = x + block.feed_forward(x)
        return gpt.logits(x[:, -1])


@torch.inference_mode()
def torch_texts(step: Callable[..., Tensor], rows: int) -> float:
    """Prompts token by token too: only the steps after them are timed."""
    token = torch.randint(1, len(CHARACTERS), (rows, 1), device="cuda")
    start = 0.0
    for place in range(PROMPT + TOKENS):
        if place == PROMPT:
            torch.cuda.synchronize()
            start = time.perf_counter()
        torch.compiler.cudagraph_mark_step_begin()
        token = step(token, torch.tensor([place], device="cuda")).argmax(-1, keepdim=True)
    token.cpu()
    return rows * TOKENS / (time.perf_counter() - start)


def main() -> None:
    options = parse(__doc__, rounds=5)
    try:
        find_device("cuda")
    except RuntimeError as error:
        print(f"nothing was measured: {error}")
        sys.exit(0)  # `make bench` goes on with what can be measured
    if not torch.cuda.is_available():
        sys.exit("nothing was measured: there is a GPU, but this torch was built without CUDA")
    comparisons: list[Comparison] = []
    compiled = {"mode": "reduce-overhead"}  # with CUDA graphs
    with tempfile.TemporaryDirectory() as directory:
        place, network = diffusion_model(Path(directory))
        denoise = torch.compile(network.denoise.cuda(), **compiled)
        texts, gpt = text_model(Path(directory), MEDIUM)
        gpt.cuda()
        run = graphs(place) | graphs(texts)
        for rows in SIZES[:1] if options.quick else SIZES:
            settings = Settings(provider="cuda", text_slots=rows, max_batch_rows=max(64, rows))
            step = torch.compile(Step(gpt, rows), **compiled)
            with InProcess(place, settings) as images, InProcess(texts, settings) as text:
                figures = interleaved(
                    {
                        "our step": lambda rows=rows, engine=images: our_step(engine, rows),
                        "torch's step": lambda rows=rows: torch_step(denoise, rows),
                        "our images": lambda rows=rows, engine=images: our_images(engine, rows),
                        "torch's images": lambda rows=rows, engine=images: torch_images(denoise, engine, rows),
                        "our texts": lambda rows=rows, engine=text: our_texts(engine, rows),
                        "torch's texts": lambda rows=rows, step=step: torch_texts(step, rows),
                    },
                    1 if options.quick else options.rounds,
                )
            for what, unit in (("step", "ms"), ("images", "images/s"), ("texts", "tokens/s")):
                ours, theirs = figures[f"our {what}"], figures[f"torch's {what}"]
                better = "lower" if unit == "ms" else "higher"
                compared = Comparison(
                    f"{what}, {rows}", "ours", "torch.compile", unit, better, ours, theirs, BAR, "at least"
                )
                comparisons.append(compared)
    if options.quick:
        return
    what = f"{torch.cuda.get_device_name()}: {STEPS} steps of mnist-diffusion's network; {MEDIUM.name} text, {TOKENS} tokens."
    publish("device", what, comparisons, installed("onnxruntime-gpu", "torch"), graphs=run)


if __name__ == "__main__":
    main()
