"""The same work on the same graph under load: our service against six others, each at the best of its settings.

python -m benchmarks.one_shot_peers [--rounds 3] [--quick]
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from benchmarks.contenders import PEERS, Peer, Setting
from benchmarks.environments import environment, versions
from benchmarks.harness import Comparison, interleaved
from benchmarks.load import Failed, Measured, Request, ask, load
from benchmarks.peers.graph import latent
from benchmarks.results import installed, parse, publish
from benchmarks.search import TURNS, best
from benchmarks.servers import NotReady, Served, ours, peer, resting, together
from benchmarks.works import DENOISER_64, GAN, Work, best_batch, check, raw_rate

CLIENTS = 64
RATE_BAR, P99_BAR = 2.0, 1.0
TRIAL_WARM, TRIAL = 0.3, 0.6
"""Seconds of a trial of one setting."""
WHAT = f"""{CLIENTS} clients, one image a request, the same ONNX file and ONNX Runtime everywhere. All settings of a peer
(`benchmarks/contenders.py`) are first tried in turns, {TURNS} times those that are close to the best; the one with the highest
median of answers is kept for it, and then takes turns with our service, which runs with its defaults. A peer that polls where nobody asks is stopped meanwhile. The bars are on the peer that comes closest. The graph alone, with no
server and nobody to answer, on all cores at its best batch, says how many times that peer's throughput any server of it could
have on them."""


@dataclass(frozen=True)
class Duel:
    """Our service and a peer in turn: throughput and p99 of the same runs."""

    other: Peer
    setting: Setting
    rate: Comparison
    p99: Comparison


def duel(mine: Served, other: Peer, setting: Setting, work: Work, rounds: int, seconds: float) -> Duel:
    """Run one."""
    runs: dict[str, list[Measured]] = {"ours": [], "peer": []}

    def run(side: str, served: Served, requests: Sequence[Request]) -> float:
        runs[side].append(_loaded(served, requests, work, seconds))
        return runs[side][-1].rate

    def run_ours() -> float:
        with resting(up) if other.polls else contextlib.nullcontext():
            return run("ours", mine, asked)

    theirs, asked = other.requests(work), work.requests()
    with peer(other.name, other.arguments(work, setting), theirs[0]) as up:
        rates = interleaved({"ours": run_ours, "peer": lambda: run("peer", up, theirs)}, rounds)
    # The first run of each was the warm-up.
    tails = {side: [1000 * measured.p99 for measured in found[1:]] for side, found in runs.items()}
    sides = ("Amostra", other.label)
    return Duel(
        other,
        setting,
        Comparison(f"{work.name}, throughput", *sides, "images/s", "higher", rates["ours"], rates["peer"]),
        Comparison(f"{work.name}, p99", *sides, "ms", "lower", tails["ours"], tails["peer"]),
    )


def ceiling(work: Work, closest: Duel, rounds: int, seconds: float) -> Comparison:
    """How many times a peer's throughput the graph alone has, on the same cores."""
    rows, other = best_batch(work, seconds / 8), closest.other
    asked = other.requests(work)
    with peer(other.name, other.arguments(work, closest.setting), asked[0]) as up:
        sides = {
            "alone": lambda: raw_rate(work, rows, seconds / 2),
            "peer": lambda: _loaded(up, asked, work, seconds).rate,
        }
        rates = interleaved(sides, rounds)
    name = f"{work.name}, the graph alone"
    return Comparison(name, "ONNX Runtime", other.label, "images/s", "higher", rates["alone"], rates["peer"])


def best_setting(other: Peer, work: Work, settings: Sequence[Setting], turns: int) -> tuple[Setting, list[str]]:
    """The setting in which a peer answers most, and a remark about each that failed. Raises Failed if all did."""
    requests, failed = other.requests(work), dict[Setting, str]()
    environment(other.name)  # made once, not by each
    servers = {setting: partial(peer, other.name, other.arguments(work, setting), requests[0]) for setting in settings}
    with together(servers) as found:
        failed |= {setting: str(up) for setting, up in found.items() if isinstance(up, NotReady)}
        every = {setting: up for setting, up in found.items() if isinstance(up, Served)}

        def trial(setting: Setting) -> float:
            others = [up for up in every.values() if up is not every[setting]] if other.polls else []
            try:
                with resting(*others):
                    return _loaded(every[setting], requests, work, TRIAL, TRIAL_WARM).rate
            except Failed as failure:
                failed[setting] = str(failure)
                return 0.0

        for up in every.values():
            check(work, 1, other.image(ask(up.port, requests[1]), work), latent(work.drawings[1][1]))
        chosen = None
        while left := {setting: partial(trial, setting) for setting in every if setting not in failed}:
            chosen = best(left, turns)
            if chosen not in failed:
                break
    remarks = [f"{other.label} with {s} failed: {why.splitlines()[0][:120]}." for s, why in failed.items()]
    if chosen is None or chosen in failed:
        raise Failed(f"{other.label}, {work.name}: no setting worked: {' '.join(remarks)}")
    return chosen, remarks


def at_edge(setting: Setting, tried: Sequence[Setting]) -> list[str]:
    """What of a setting might have been better still beyond what was tried: the processes, and the rows of a batch, of which
    there are no more than clients."""
    batches, workers = {other.batch for other in tried}, {other.workers for other in tried}
    found = []
    if len(batches) > 1 and setting.batch in {min(batches), max(batches)} - {CLIENTS}:
        found.append("batch")
    if setting.workers == max(workers) > min(workers):
        found.append("workers")
    return found


def _loaded(
    served: Served, requests: Sequence[Request], work: Work, seconds: float, warm_seconds: float = 1.0
) -> Measured:
    try:
        return load(served.port, served.pid, requests, CLIENTS, seconds, work.answer_bytes, warm_seconds)
    except Failed as failure:
        raise Failed(f"{failure}\n{served.log.read_text(errors='replace')[-2000:]}") from failure


def main() -> None:
    options = parse(__doc__, rounds=3)
    seconds, rounds = (1.0, 1) if options.quick else (3.0, options.rounds)
    comparisons, notes = [], []
    for work in (GAN, DENOISER_64):
        duels = []
        with ours(work.requests()[0]) as mine:
            for other in PEERS:
                settings, turns = (other.settings[:1], 1) if options.quick else (other.settings, TURNS)
                setting, remarks = best_setting(other, work, settings, turns)
                duels.append(duel(mine, other, setting, work, rounds, seconds))
                edges = "".join(f", {name} at the edge of what was tried" for name in at_edge(setting, settings))
                notes += [*remarks, f"{work.name}, {other.label}: {setting}{edges}."]
                print(notes[-1], f"{duels[-1].rate.ratio:.2f}×, p99 {duels[-1].p99.ratio:.2f}×", flush=True)
        closest = min(duels, key=lambda found: found.rate.ratio)
        for found in sorted(duels, key=lambda found: found.rate.ratio):
            bars = (RATE_BAR, P99_BAR) if found is closest else (None, None)
            comparisons += [replace(found.rate, bar=bars[0]), replace(found.p99, bar=bars[1])]
        comparisons.append(ceiling(work, closest, rounds, seconds))
    if options.quick:
        return
    about = installed("onnxruntime-gpu", "bentoml")
    for other in PEERS:
        for name, version in versions(other.name, *other.distributions, "onnxruntime").items():
            about[name if name != "onnxruntime" else f"{other.label}'s onnxruntime"] = version
    publish("one_shot_peers", WHAT, comparisons, about, notes, GAN.graphs | DENOISER_64.graphs)


if __name__ == "__main__":
    main()
