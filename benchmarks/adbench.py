"""Anomaly scores of tables: our default score against PyOD's detectors, on 14 sets of ADBench, one-class and without leaks.

    AMOSTRA_DATA=… python -m benchmarks.adbench [--rounds 3] [--quick] [--sets vowels wine]

A round is a seed: half of a set's normal rows to learn from, the other half and all anomalies to test on; columns are
standardised on the former. Our model learns from the same rows as PyOD's detectors; its weights were chosen on a fifth of
them by a model that learnt from the others, and no label is read before the test. That smaller model, with weights of one
half of the fifth and calibrated on the other, is the one whose false alarms are counted. PyOD's figures do not change: they are kept in runs/adbench.json.
"""

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from benchmarks.environments import environment, versions
from benchmarks.harness import Comparison
from benchmarks.results import installed, parse, publish
from benchmarks.side import Side
from service.tasks.score import conditional, discoveries, p_values
from training.data.source import keyed
from training.data.tables import FILES, Rows
from training.family import DataSummary
from training.models.table import Scores, TableScores
from training.recipe import Recipe, load_recipe

DETECTORS = ("KNN", "IForest", "ECOD", "LOF", "KDE")
POINT = 0.01
ALPHAS = (0.01, 0.05, 0.1)
FDR, BATCHES, BATCH_ROWS, BATCH_ANOMALIES = 0.1, 200, 100, 10
CHOOSING_SHARE = 0.2
KEPT = Path("runs/adbench.json")


@dataclass(frozen=True)
class Split:
    """Rows to learn from (N, D), and to test on (M, D) with 1 for an anomaly (M,)."""

    train: np.ndarray
    test: np.ndarray
    anomalous: np.ndarray


@dataclass(frozen=True)
class Measured:
    """Of one set and seed: AUROCs, and the false alarms of the calibrated model."""

    default: str
    aurocs: dict[str, float]
    flagged: tuple[float, ...]
    normal_rows: int
    false_discoveries: float


def split(name: str, root: Path, seed: int) -> Split:
    """One set by one seed."""
    with np.load(root / "adbench" / f"{FILES[name]}.npz", allow_pickle=False) as file:
        x, y = file["X"].astype(np.float64), file["y"].astype(np.int64)
    normal = np.random.default_rng(seed).permutation(np.flatnonzero(y == 0))
    half = len(normal) // 2
    train = x[normal[:half]]
    test = np.concatenate([x[normal[half:]], x[y == 1]])
    deviation = train.std(0)
    centre, scale = train.mean(0), np.where(deviation > 0, deviation, 1)
    anomalous = np.repeat([0, 1], [len(normal) - half, int((y == 1).sum())])
    return Split((train - centre) / scale, (test - centre) / scale, anomalous)


def learnt(recipe: Recipe, x: Tensor) -> TableScores:
    """The recipe's family, as its training leaves it."""
    family = TableScores(recipe.model_config_, DataSummary("vector", (x.shape[1],)))
    family.prepare(Rows(x))
    (optimizer,) = family.optimizers("model", recipe.optimizer)
    for step in range(recipe.train.steps):
        loss, _ = family.loss("model", {"x": x[: recipe.data.batch_size]}, keyed(recipe.seed, step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return family.eval()


@torch.no_grad()
def normality(family: TableScores, x: Tensor) -> np.ndarray:
    """All statistics of rows (M, D): (M, N), higher is more normal."""
    scores = Scores(family, family.weights, family.default).eval()
    return torch.cat([scores(part)[0] for part in x.split(500)]).double().numpy()


def measure(recipe: Recipe, rows: Split, seed: int) -> Measured:
    """Our side of one set and seed."""
    train, test = (torch.from_numpy(part).float() for part in (rows.train, rows.test))
    first = int(len(train) * (1 - CHOOSING_SHARE))
    middle = (first + len(train)) // 2
    smaller, family = learnt(recipe, train[:first]), learnt(recipe, train)
    smaller.fit([{"x": train[first:]}])
    default, family.default, family.weights = smaller.default, smaller.default, smaller.weights
    smaller.fit([{"x": train[first:middle]}])
    calibration = np.sort(normality(smaller, train[middle:])[:, smaller.default])
    p = p_values(normality(smaller, test)[:, smaller.default], calibration)
    found = normality(family, test)
    normal = p[rows.anomalous == 0]
    aurocs = {name: roc_auc_score(rows.anomalous, -column) for name, column in zip(family.names, found.T, strict=True)}
    return Measured(
        family.names[default],
        {"default": aurocs[family.names[default]], **aurocs},
        tuple(float((normal <= alpha).mean()) for alpha in ALPHAS),
        len(normal),
        false_discoveries(p, rows.anomalous, len(calibration), np.random.default_rng(seed)),
    )


def false_discoveries(p: np.ndarray, anomalous: np.ndarray, calibrated: int, rng: np.random.Generator) -> float:
    """The mean share of normal rows among those that the service's rule flags, over batches drawn from the test rows."""
    normal, strange, shares = np.flatnonzero(anomalous == 0), np.flatnonzero(anomalous), []
    few = min(BATCH_ANOMALIES, len(strange))
    for _ in range(BATCHES):
        some = rng.choice(normal, min(BATCH_ROWS - few, len(normal)), replace=False)
        batch = np.concatenate([some, rng.choice(strange, few, replace=False)])
        flagged = discoveries(conditional(p[batch], calibrated), FDR)
        shares.append((flagged & (anomalous[batch] == 0)).sum() / max(1, flagged.sum()))
    return float(np.mean(shares))


def by_pyod(side: Side, rows: Split, seed: int) -> dict[str, float]:
    """AUROC of each detector."""
    with tempfile.TemporaryDirectory() as home:
        file, scores = Path(home) / "rows.npz", Path(home) / "scores.npy"
        np.savez(file, train=rows.train, test=rows.test)
        found = {}
        for detector in DETECTORS:
            side(file=str(file), detector=detector, seed=seed, scores=str(scores))
            found[detector] = roc_auc_score(rows.anomalous, np.load(scores))
    return found


def kept(names: list[str], root: Path, seeds: range) -> dict[str, dict[str, float]]:
    """PyOD's AUROCs by `set seed`; what has not been measured is."""
    known: dict[str, dict[str, float]] = json.loads(KEPT.read_text()) if KEPT.is_file() else {}
    missing = [(name, seed) for name in names for seed in seeds if f"{name} {seed}" not in known]
    if missing:
        with Side(environment("pyod"), "benchmarks.peers.pyod.detectors") as side:
            for name, seed in missing:
                known[f"{name} {seed}"] = by_pyod(side, split(name, root, seed), seed)
                KEPT.parent.mkdir(exist_ok=True)
                KEPT.write_text(json.dumps(known, indent=1))
    return known


def report(names: list[str], ours: dict[str, list[Measured]], peers: dict[str, list[dict[str, float]]]) -> list[str]:
    """Lines of figures for people, means over the seeds."""
    lines = []
    for name in names:
        mine, theirs = ours[name], peers[name]
        best = max(DETECTORS, key=lambda d: np.mean([t[d] for t in theirs]))
        chosen = ", ".join(dict.fromkeys(m.default for m in mine))
        flagged = ", ".join(f"{np.mean([m.flagged[i] for m in mine]):.4f}" for i in range(len(ALPHAS)))
        lines.append(
            f"{name}: {np.mean([m.aurocs['default'] for m in mine]):.4f} ({chosen}), "
            f"KNN {np.mean([t['KNN'] for t in theirs]):.4f}, "
            f"{best} {np.mean([t[best] for t in theirs]):.4f}; of {mine[0].normal_rows} normal rows flagged at alpha "
            f"{', '.join(map(str, ALPHAS))}: {flagged}; false discoveries at {FDR}: "
            f"{np.mean([m.false_discoveries for m in mine]):.4f}."
        )
    means = {s: np.mean([[m.aurocs[s] for m in ours[n]] for n in names]) for s in ours[names[0]][0].aurocs}
    lines.append("Mean AUROC of ours: " + ", ".join(f"{s} {value:.4f}" for s, value in means.items()) + ".")
    means = {d: np.mean([[t[d] for t in peers[n]] for n in names]) for d in DETECTORS}
    lines.append("Mean AUROC of PyOD's: " + ", ".join(f"{d} {value:.4f}" for d, value in means.items()) + ".")
    for i, alpha in enumerate(ALPHAS):
        of_set = np.array([[m.flagged[i] for m in ours[n]] for n in names])
        lines.append(f"Flagged at alpha = {alpha}: {of_set.mean():.4f} on average over sets and seeds.")
    shares = [m.false_discoveries for n in names for m in ours[n]]
    lines.append(
        f"False discoveries at fdr = {FDR}: {np.mean(shares):.4f} on average, {BATCHES} batches a set and seed."
    )
    return lines


def main() -> None:
    ask = parse(__doc__, rounds=3)
    names = ["wine"] if ask.quick else list(FILES)
    seeds = range(1 if ask.quick else ask.rounds)
    root = Path(os.environ["AMOSTRA_DATA"])
    recipe = load_recipe("pendigits-scores")
    known = kept(names, root, seeds)
    peers = {name: [known[f"{name} {seed}"] for seed in seeds] for name in names}
    ours: dict[str, list[Measured]] = {}
    for name in names:
        ours[name] = [measure(recipe, split(name, root, seed), seed) for seed in seeds]
        print(report([name], ours, peers)[0], flush=True)
    best = max(DETECTORS, key=lambda d: np.mean([[t[d] for t in peers[n]] for n in names]))
    mine = [float(np.mean([ours[n][s].aurocs["default"] for n in names])) for s in seeds]
    theirs = [float(np.mean([peers[n][s][best] for n in names])) + POINT for s in seeds]
    name = f"mean AUROC of {len(names)} sets"
    compared = Comparison(name, "default score", f"PyOD's {best} + {POINT}", "", "higher", mine, theirs, 1.0)
    lines = report(names, ours, peers)
    if ask.quick:
        return
    what = "Default score of the table family, one-class, three seeds, against the best of PyOD's KNN, IForest, ECOD, LOF, KDE."
    publish("adbench", what, [compared], {**installed("torch"), **versions("pyod", "pyod", "scikit-learn")}, lines)


if __name__ == "__main__":
    main()
