"""A lonely client's wait for one image: our service against a plain FastAPI route with the same graph.

python -m benchmarks.one_client [--rounds 5] [--quick]
"""

import contextlib

from benchmarks.contenders import FASTAPI, Setting
from benchmarks.environments import versions
from benchmarks.harness import Comparison, interleaved
from benchmarks.load import Request, ask, load
from benchmarks.peers.graph import Spin, latent
from benchmarks.results import installed, parse, publish
from benchmarks.servers import Served, ours, peer
from benchmarks.works import DENOISER_64, GAN, Work, check

BAR = 1.1
WAITS: tuple[tuple[int, Spin], ...] = ((1, "never"), (2, "never"), (2, "run"), (2, "always"))
"""Threads of a session, and when they spin: ONNX Runtime's default is always, ours is in a run."""
SETTINGS = tuple(
    Setting(threads=threads, spin=spin, inline=inline) for threads, spin in WAITS for inline in (True, False)
)
WHAT = """One client on one connection, one request after the other; the figure is the median time of an answer. FastAPI is
measured in its event loop and on its thread pool, with one thread of the session and with two that sleep, spin in a run (as
ours do) or spin always (as is ONNX Runtime's default) while they wait; the fastest of these eight is the one that counts."""


def measure(work: Work, rounds: int, seconds: float) -> tuple[Comparison, str]:
    """Our service against the best setting of the plain route, and which that was."""
    asked, theirs = work.requests(), FASTAPI.requests(work)

    def milliseconds(served: Served, requests: list[Request]) -> float:
        return 1000 * load(served.port, served.pid, requests, 1, seconds, work.answer_bytes, warm_seconds=0.3).p50

    with contextlib.ExitStack() as stack:
        mine = stack.enter_context(ours(asked[0]))
        contenders = {"ours": lambda: milliseconds(mine, asked)}
        for setting in SETTINGS:
            other = stack.enter_context(peer(FASTAPI.name, FASTAPI.arguments(work, setting), theirs[0]))
            check(work, 1, FASTAPI.image(ask(other.port, theirs[1]), work), latent(work.drawings[1][1]))
            contenders[str(setting)] = lambda other=other: milliseconds(other, theirs)
        figures = interleaved(contenders, rounds)
    every = [
        Comparison(work.name, "Amostra", "FastAPI", "ms", "lower", figures["ours"], figures[str(setting)], BAR)
        for setting in SETTINGS
    ]
    hardest = max(every, key=lambda compared: compared.ratio)
    return hardest, f"{work.name}: FastAPI is fastest with {SETTINGS[every.index(hardest)]}."


def main() -> None:
    options = parse(__doc__, rounds=5)
    seconds, rounds = (0.3, 1) if options.quick else (1.0, options.rounds)
    measured = [measure(work, rounds, seconds) for work in (GAN, DENOISER_64)]
    if not options.quick:
        about = {**installed("onnxruntime-gpu", "bentoml"), **versions(FASTAPI.name, *FASTAPI.distributions)}
        notes = [note for _, note in measured]
        graphs = GAN.graphs | DENOISER_64.graphs
        publish("one_client", WHAT, [compared for compared, _ in measured], about, notes, graphs)


if __name__ == "__main__":
    main()
