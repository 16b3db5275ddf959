"""Density of vectors by kernel density estimation: our engine against scikit-learn, in seconds and in nats.

    python -m benchmarks.density [--rounds 5] [--quick]

10,000 vectors under 5,000 points: of 20 dimensions against `KernelDensity.score_samples`, with the same points and bandwidth,
in a space where scikit-learn's one bandwidth for all directions is right; its setting is the best of its two trees and three
sizes of leaves. Of 784 dimensions, where its default tree is wrong, against a direct logsumexp in float64. One vector job holds
all 10,000, as one request to /v1/score does.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sklearn.neighbors import KernelDensity

from benchmarks.harness import Comparison, interleaved
from benchmarks.in_process import InProcess
from benchmarks.models import kde_model
from benchmarks.results import installed, parse, publish
from benchmarks.search import best
from benchmarks.stamps import graphs
from service.tasks import score

BAR = 15.0
TREES = [(tree, leaf) for tree in ("kd_tree", "ball_tree") for leaf in (40, 400, 10_000)]


def by_engine(engine: InProcess, x: np.ndarray) -> tuple[float, np.ndarray]:
    """Seconds, and nats (N,)."""
    (ended,) = engine.run([(score.score_samples(engine.model, x), float(len(x)))])
    return ended.seconds, ended.result.log_prob


def by_tree(kde: KernelDensity, x: np.ndarray) -> tuple[float, np.ndarray]:
    """Seconds, and nats (N,)."""
    start = time.perf_counter()
    found = kde.score_samples(x)
    return time.perf_counter() - start, found


def directly(points: np.ndarray, bandwidth: float, x: np.ndarray) -> np.ndarray:
    """Nats (N,) in float64, from the definition, distance by distance."""
    size, found = points.shape[1], []
    constant = np.log(len(points)) + size * np.log(bandwidth) + size / 2 * np.log(2 * np.pi)
    for row in x.astype(np.float64):
        exponents = -np.square(points - row).sum(1) / (2 * bandwidth**2)  # (points,)
        most = exponents.max()
        found.append(most + np.log(np.exp(exponents - most).sum()) - constant)
    return np.array(found)


def best_tree(points: np.ndarray, bandwidth: float, x: np.ndarray) -> KernelDensity:
    """scikit-learn's fastest setting on these vectors."""
    trees = [
        KernelDensity(bandwidth=bandwidth, algorithm=tree, leaf_size=leaf).fit(points.astype(np.float64))
        for tree, leaf in TREES
    ]
    return best({tree: lambda tree=tree: len(x) / by_tree(tree, x)[0] for tree in trees})


def main() -> None:
    ask = parse(__doc__, rounds=5)
    points, vectors = (200, 100) if ask.quick else (5_000, 10_000)
    comparisons: list[Comparison] = []
    notes: list[str] = []
    run: dict[str, str] = {}
    for size in (20, 784):
        with tempfile.TemporaryDirectory() as store:
            directory, kde = kde_model(Path(store), points, size)
            run |= {f"{size} dimensions, {file}": digest for file, digest in graphs(directory).items()}
            kept, bandwidth = kde.points.double().numpy(), float(kde.bandwidth())
            x = torch.randn(vectors, size, generator=torch.Generator().manual_seed(1)).numpy()
            with InProcess(directory) as engine:
                few = x[:100]
                truth, found = directly(kept, bandwidth, few), by_engine(engine, few)[1]
                tree = (
                    best_tree(kept, bandwidth, x[:1000]) if size == 20 else KernelDensity(bandwidth=bandwidth).fit(kept)
                )
                errors = [np.abs(values - truth).max() for values in (found, by_tree(tree, few)[1])]
                notes.append(
                    f"{size} dimensions, bandwidth {bandwidth:.3g}: off the direct logsumexp in float64 by at most "
                    f"{errors[0]:.2g} nats (ours) and {errors[1]:.2g} nats (scikit-learn, {tree.algorithm}, "
                    f"leaf_size {tree.leaf_size}), of {len(few)} vectors at {np.median(truth):.1f} nats."
                )
                if errors[0] > 1e-2:
                    raise AssertionError(notes[-1])
                if size == 20:
                    comparisons.append(compare(engine, tree, x, 1 if ask.quick else ask.rounds))
    if ask.quick:
        return
    what = "10,000 vectors under 5,000 points of 20 dimensions, one job for all of them, against the best of scikit-learn's trees."
    publish("density", what, comparisons, installed("onnxruntime-gpu", "scikit-learn"), notes, run)


def compare(engine: InProcess, tree: KernelDensity, x: np.ndarray, rounds: int) -> Comparison:
    """Vectors a second of both, which must say the same of every vector."""
    worst = np.abs(by_engine(engine, x)[1] - by_tree(tree, x)[1]).max()
    if worst > 1e-3:
        raise AssertionError(f"expected scikit-learn's nats, found a difference of {worst:.2g}")
    contenders: dict[str, Callable[[], float]] = {
        "ours": lambda: len(x) / by_engine(engine, x)[0],
        "tree": lambda: len(x) / by_tree(tree, x)[0],
    }
    figures = interleaved(contenders, rounds)
    peer = f"scikit-learn, {tree.algorithm}, leaf_size {tree.leaf_size}"
    return Comparison("20 dimensions", "ours", peer, "vectors/s", "higher", figures["ours"], figures["tree"], BAR)


if __name__ == "__main__":
    main()
