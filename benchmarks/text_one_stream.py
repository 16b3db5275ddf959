"""One stream of text: our engine against torch, transformers and onnxruntime-genai, tokens a second of a lone request.

    python -m benchmarks.text_one_stream [--rounds 5] [--quick]

A prompt of 32 tokens, a new one each time, and 96 tokens after it, greedily, from the request to the last token. A turn is a
stream of 8 requests, one after the other, and its rate that of the middle one: the first of them finds the caches as the peer
before left them. Torch has our own weights; the other peers have a Llama of as many layers, heads, key/value heads and weights.
Every peer runs with one thread and with two, transformers with its default cache and with a static one and torch.compile, and
its best setting counts. Our graph alone, in a loop that takes the likeliest token and does nothing else, says how many times
a peer's rate any engine of it could have.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.environments import environment, versions
from benchmarks.harness import Comparison, interleaved
from benchmarks.in_process import InProcess
from benchmarks.models import CHARACTERS, MEDIUM, SMALL, TextSize, text_model, text_recipe
from benchmarks.results import installed, parse, publish
from benchmarks.side import ROOT, Side
from benchmarks.stamps import graphs
from contract import Capability, read_manifest
from service.engine.brake import Brake
from service.engine.held_rows import Rows
from service.engine.job import Sampling
from service.engine.token_graph import TokenGraph
from service.sessions import open_session
from service.settings import Settings
from service.tasks import complete

PROMPT, TOKENS = 32, 96
STREAM = 8  # requests of a turn
TINY = TextSize(2, 64, 2)
STATIC = "transformers, static cache and torch.compile"
ALONE = "our graph alone"
BARS = {
    TINY: {"torch eager": None, "transformers": None, "genai": None},
    SMALL: {"torch eager": 6.0, "transformers": 6.0, "genai": 1.0},
    MEDIUM: {"torch eager": 2.5, "transformers": 6.0, "genai": 1.0},
}
EIGHT_BARS = {MEDIUM: {"genai": 3.0}}


def prompts() -> Iterator[list[int]]:
    """A new prompt each time, that no cache has seen; the first token is the one that starts a text."""
    rng = np.random.default_rng(0)
    while True:
        yield [0, *rng.integers(1, len(CHARACTERS) - 1, PROMPT - 1).tolist()]


def ours(engine: InProcess, prompt: list[int], tokens: int = TOKENS) -> tuple[float, str]:
    """Seconds of a completion, and its text."""
    request = complete.Request(np.array(prompt[1:]), "", 0, 0, tokens, Sampling(temperature=0.0))
    (ended,) = engine.run([(complete.complete(engine.model, request), request.work)])
    return ended.seconds, ended.result.text


def rate(seconds: Callable[[list[int]], float]) -> Callable[[], float]:
    """Tokens a second of a stream of new prompts, by what each one takes."""
    own = prompts()
    return lambda: TOKENS / statistics.median(seconds(next(own)) for _ in range(STREAM))


def _seconds(engine: InProcess, prompt: list[int]) -> float:
    return ours(engine, prompt)[0]


def _seconds_of(side: Side, prompt: list[int]) -> float:
    return side(prompt=prompt, tokens=TOKENS)["seconds"]


def bare(graph: TokenGraph, prompt: list[int]) -> float:
    """Seconds of the same completion with nothing around the graph."""
    start = time.perf_counter()
    logits = graph.prompt(0, np.array([prompt]), len(prompt))
    graph.begin_steps(logits.argmax(-1), np.array([len(prompt)]), alone=False)
    for step in range(TOKENS - 1):
        if step:
            graph.feed(logits.argmax(-1))
        logits = graph.step()
    logits.argmax(-1)
    return time.perf_counter() - start


def graph_alone(directory: Path, threads: int) -> TokenGraph:
    """The graph as the service opens it."""
    manifest, capability = read_manifest(directory), Capability.NEXT_TOKEN
    graph = manifest.capabilities[capability]
    session = open_session(directory, capability, graph, Settings(), "cpu", Brake(), threads)
    return TokenGraph(session, Rows(session, 0, 1, manifest.context), 0, None)


def check(engine: InProcess, torch_side: Side) -> None:
    """Our text is torch's."""
    prompt = next(prompts())
    found = ours(engine, prompt)[1]
    expected = "".join(CHARACTERS[i] for i in torch_side(prompt=prompt, tokens=TOKENS)["tokens"])
    if found != expected:
        raise AssertionError(f"expected torch's text {expected!r}, found {found!r}")


def check_alike(default: Side, static: Side) -> None:
    """Both caches give one text, of the whole length."""
    prompt = next(prompts())
    expected, found = (side(prompt=prompt, tokens=TOKENS)["tokens"] for side in (default, static))
    if found != expected or len(found) != TOKENS:
        raise AssertionError(f"expected {TOKENS} tokens of the default cache {expected}, found {found}")


def transformers(directory: Path, threads: int, cache: str) -> Side:
    """`generate` of transformers, with one of its caches."""
    module, checkpoint = "benchmarks.peers.transformers.text", directory / "transformers"
    return Side(environment("transformers"), module, checkpoint, threads, cache)


def prepare(size: TextSize, directory: Path) -> None:
    """Make the models of all sides in a directory."""
    _, gpt = text_model(directory, size)
    text_model(directory, size, "int8")
    torch.save(gpt, directory / "gpt.pt")
    arguments = [size.layers, size.width, size.heads, size.kv_heads, size.context, len(CHARACTERS)]
    builder = [environment("genai"), "-m", "benchmarks.peers.genai.checkpoint", directory, *arguments]
    subprocess.run([*map(str, builder)], cwd=ROOT, check=True)


def served(size: TextSize, directory: Path) -> dict[str, str]:
    """Our graphs of one size: their names, and the first digits of their hashes."""
    models = [directory / text_recipe(size, weights).name / "1" for weights in ("float32", "int8")]
    return graphs(models[0]) | graphs(models[1])


def measure(size: TextSize, directory: Path, rounds: int) -> list[Comparison]:
    """All comparisons of one size."""
    with ExitStack() as stack:
        engines = {
            name: stack.enter_context(InProcess(directory / text_recipe(size, weights).name / "1"))
            for name, weights in (("ours", "float32"), ("ours, 8 bits", "int8"))
        }
        contenders = {name: rate(partial(_seconds, engine)) for name, engine in engines.items()}
        for threads in (1, 2):
            graph = graph_alone(directory / text_recipe(size, "float32").name / "1", threads)
            contenders[_named(ALONE, threads)] = rate(partial(bare, graph))
            sides = {
                "torch eager": Side(sys.executable, "benchmarks.torch_text", directory / "gpt.pt", threads),
                "transformers": transformers(directory, threads, "dynamic"),
                STATIC: transformers(directory, threads, "static"),
                "genai": Side(environment("genai"), "benchmarks.peers.genai.text", directory / "genai", threads),
            }
            for name, side in sides.items():
                contenders[_named(name, threads)] = rate(partial(_seconds_of, stack.enter_context(side)))
            check(engines["ours"], sides["torch eager"])
            check_alike(sides["transformers"], sides[STATIC])
        return compare(size, interleaved(contenders, rounds))


def _named(name: str, threads: int) -> str:
    return f"{name}, {threads} thread{'s' * (threads > 1)}"


def compare(size: TextSize, figures: dict[str, list[float]]) -> list[Comparison]:
    """Against the best setting of each peer."""

    def best(name: str) -> str:
        settings = [own for own in figures if own.partition(", ")[0] == name]
        return max(settings, key=lambda own: np.median(figures[own]))

    bars = {"ours": BARS[size], "ours, 8 bits": EIGHT_BARS.get(size, {}), best(ALONE): {}}
    return [
        Comparison(size.name, mine, best(peer), "tokens/s", "higher", figures[mine], figures[best(peer)], own.get(peer))
        for mine, own in bars.items()
        for peer in BARS[size]
    ]


def main() -> None:
    ask = parse(__doc__, rounds=5)
    compared: list[Comparison] = []
    run: dict[str, str] = {}
    for size in (TINY,) if ask.quick else (SMALL, MEDIUM):
        with tempfile.TemporaryDirectory() as directory:
            prepare(size, Path(directory))
            run |= served(size, Path(directory))
            compared += measure(size, Path(directory), 1 if ask.quick else ask.rounds)
    if ask.quick:
        return
    publish(
        "text_one_stream",
        f"One stream of text through the engine, a prompt of 32 tokens and 96 after it, greedily, the middle one of {STREAM} in a "
        "row, against the better of one and two threads of each peer, and for transformers of its default cache and of a static "
        "one with torch.compile, as its documentation has it for speed; one key/value head everywhere, 65 tokens. Torch has our "
        "weights and gives our text. The rows of our weights of 8 bits are against peers in float32, as the others are. Our graph alone, in "
        "a loop that does nothing else, says how many times a peer's rate any engine of it could have here.",
        compared,
        installed("onnxruntime-gpu", "torch")
        | versions("transformers", "transformers")
        | versions("genai", "onnxruntime-genai"),
        graphs=run,
    )


if __name__ == "__main__":
    main()
