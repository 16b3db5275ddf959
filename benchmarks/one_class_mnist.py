"""Anomaly scores of images: trained on one digit, the nine others are anomalies. The mean AUROC of all ten digits.

    AMOSTRA_DATA=… python -m benchmarks.one_class_mnist [--quick]

For each digit the recipe mnist-scores is fitted, calibrated and exported with that digit alone, as for any other model, and
its graph scores MNIST's test set. A set of data that has no anomaly in it chooses the default.
"""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.harness import Comparison
from benchmarks.results import installed, parse, publish
from training.data import load
from training.data.images import images
from training.evaluate import ExportedModel
from training.evaluation.anomalies import Grey, auroc, normality
from training.evaluation.density import conformal_p_values
from training.export import export
from training.loop import train
from training.recipe import load_recipe

BAR = 0.993
ALPHA = 0.05
DIGITS = 10


@dataclass(frozen=True)
class Measured:
    """Of one digit: the default statistic, AUROC by each, and the share of the digit itself that is flagged at ALPHA."""

    default: str
    aurocs: dict[str, float]
    flagged: float


def measure(digit: int, root: Path, x: Grey, labels: np.ndarray) -> Measured:
    recipe = load_recipe("mnist-scores", [f"--data.classes=[{digit}]"])
    dataset = load(recipe.data, root)
    with tempfile.TemporaryDirectory() as home:
        trained = train(recipe, dataset, Path(home) / "run", progress=False)
        (Path(home) / "exported").mkdir()
        model = ExportedModel.open(export(recipe, trained, dataset, Path(home) / "exported"))
        scoring, calibration = model.manifest.scoring, model.manifest.calibration
        assert scoring is not None
        assert calibration is not None
        found = {name: normality(model, x, name) for name in scoring.statistics}
        known = np.load(model.directory / calibration.scores.file)[scoring.statistics.index(scoring.default)]
    own = labels == digit
    aurocs = {name: auroc(scores[own], scores[~own]) for name, scores in found.items()}
    flagged = float((conformal_p_values(found[scoring.default][own], known) <= ALPHA).mean())
    return Measured(scoring.default, aurocs, flagged)


def report(found: list[Measured]) -> list[str]:
    """Lines of figures for people."""
    lines = [
        f"{digit}: {of.aurocs[of.default]:.4f} by {of.default}; {100 * of.flagged:.1f}% of it flagged at alpha = {ALPHA}."
        for digit, of in enumerate(found)
    ]
    means = {name: np.mean([of.aurocs[name] for of in found]) for name in found[0].aurocs}
    return [*lines, "Mean AUROC by statistic: " + ", ".join(f"{n} {value:.4f}" for n, value in means.items()) + "."]


def main() -> None:
    ask = parse(__doc__, rounds=1)
    root = Path(os.environ["AMOSTRA_DATA"])
    torch.set_num_threads(1)
    pixels, labels = images("mnist", "test", root)
    x = pixels.numpy().astype(np.float32) / np.float32(255)
    found: list[Measured] = []
    for digit in range(1 if ask.quick else DIGITS):
        found.append(measure(digit, root, x, labels.numpy()))
        print(report(found)[-2], flush=True)
    mean = float(np.mean([of.aurocs[of.default] for of in found]))
    compared = Comparison("mean AUROC of ten digits", "default score", "the bar", "", "higher", [mean], [BAR], 1.0)
    if ask.quick:
        return
    what = "Trained on one digit of MNIST, the nine others of the test set are anomalies; the default score, no label read."
    publish("one_class_mnist", what, [compared], installed("torch", "onnxruntime-gpu"), report(found))


if __name__ == "__main__":
    main()
