"""How good drawn digits are: Fréchet distance, precision and recall, what a classifier learns from them, modes covered.

Features and classes are the judge's (training/evaluation/judge.py); images are drawn as the service draws them. Beside
each figure stands what real digits get. Labels of drawn digits are as frequent as in the training set.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import pairwise_distances_chunked
from sklearn.neighbors import NearestNeighbors
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance

from contract.manifest import Measurement
from training.data.images import Images, images
from training.data.source import Draws, keyed
from training.evaluate import EvaluationError, ExportedModel, metric
from training.evaluation.judge import judge_of
from training.evaluation.sampling import Drawn, draw
from training.family import DataSummary
from training.models.classifier import Classifier
from training.recipe import load_recipe

SAMPLES = 10_000
STACKED_SAMPLES = 26_000  # Metz et al. 2017
NEIGHBOURS = 3
FEW_STEPS = 8
HELD_OUT = 10_000  # the last ones of the training set

Array = NDArray[np.float32]


class _Given(nn.Module):
    """Features that were computed elsewhere."""

    def __init__(self, size: int):
        super().__init__()
        self.num_features = size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def frechet_distance(a: Array, b: Array) -> float:
    """|mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)) of features (N, D) and (M, D), in float64.

    Heusel et al. 2017 (arXiv 1706.08500), eq. 6.
    """
    distance = FrechetInceptionDistance(feature=_Given(a.shape[1])).set_dtype(torch.float64)
    for features, real in ((a, True), (b, False)):
        distance.update(torch.from_numpy(features.astype(np.float64)), real=real)
    return float(distance.compute())


def precision_recall(real: Array, drawn: Array, k: int = NEIGHBOURS) -> tuple[float, float]:
    """Shares of drawn features (M, D) within the real ones' manifold, and of real ones (N, D) within the drawn ones'.

    A manifold is the union of balls around its points that reach to their k-th neighbours (Kynkäänniemi et al. 2019,
    arXiv 1904.06991).
    """
    return _within(drawn, real, k), _within(real, drawn, k)


def _within(points: Array, manifold: Array, k: int) -> float:
    nearest = NearestNeighbors(n_neighbors=k + 1, algorithm="brute").fit(manifold)  # a point is its own first
    radii = nearest.kneighbors(manifold)[0][:, k]  # (N,)
    inside = [(distances <= radii).any(1) for distances in pairwise_distances_chunked(points, manifold)]
    return float(np.concatenate(inside).mean())


@metric
def fid(model: ExportedModel, data_root: Path | None, seed: int) -> list[Measurement]:
    """Of 10,000 drawn digits against the 10,000 test digits; the floor is that of as many real training digits.

    Digits that were held out of the training set lie further from the test set (the note has their distance), so that
    the ratio to this floor is the stricter one.
    """
    judge, drawn = judge_of(model), _digits(model, data_root, seed)
    test, real, floor = _real(model, data_root, seed)
    held_out = judge.features(_unit(images("mnist", "train", data_root)[0][-HELD_OUT:]))
    features = judge.features(drawn.x)
    distance = frechet_distance(test, features)
    precision, recall = precision_recall(test, features)
    real_precision, real_recall = precision_recall(test, real)
    cost = f"{drawn.evaluations:.4g} evaluations of the network a sample"
    beside = f"{len(real)} real digits of the training set"
    floors = f"the floor, {floor:.4g}: {beside}; {HELD_OUT} held out of it {frechet_distance(test, held_out):.4g}"
    rest = {"data": f"drawn digits against {len(test)} of MNIST test", "size": len(drawn.x), "seed": seed}
    rest["judge"] = judge.sha256
    manifold = f"{NEIGHBOURS} nearest neighbours"
    return [
        Measurement(metric="FID", value=distance, note=f"the judge's features; {cost}", **rest),
        Measurement(metric="FID / floor", value=distance / floor, note=floors, **rest),
        Measurement(metric="NFE", value=drawn.evaluations, note="evaluations of the network a sample", **rest),
        Measurement(metric="precision", value=precision, note=f"{manifold}; {beside}: {real_precision:.3f}", **rest),
        Measurement(metric="recall", value=recall, note=f"{manifold}; {beside}: {real_recall:.3f}", **rest),
    ]


@metric
def fid_in_steps(model: ExportedModel, data_root: Path | None, seed: int) -> list[Measurement]:
    """What further steps bring a model that draws in few: FID / floor, as above, in each number of steps that is not its
    default. Raises EvaluationError for a model of one step, or of more than FEW_STEPS."""
    own = model.manifest.sampling
    if not 1 < own.max_steps <= FEW_STEPS:
        raise EvaluationError(
            f"{model.manifest.name}: expected a model of 2 to {FEW_STEPS} steps, found {own.max_steps}"
        )
    judge = judge_of(model)
    test, _, floor = _real(model, data_root, seed)
    figures = []
    for steps in (n for n in range(1, own.max_steps + 1) if n != own.steps):
        drawn = _digits(model, data_root, seed, steps)
        figures.append(
            Measurement(
                metric=f"FID / floor in {steps} steps",
                value=frechet_distance(test, judge.features(drawn.x)) / floor,
                data=f"drawn digits against {len(test)} of MNIST test",
                size=len(drawn.x),
                seed=seed,
                note=f"{drawn.evaluations:.4g} evaluations of the network a sample",
                judge=judge.sha256,
            )
        )
    return figures


@metric
def label_accuracy(model: ExportedModel, data_root: Path | None, seed: int) -> list[Measurement]:
    """How many drawn digits the judge takes for what was asked."""
    judge, drawn = judge_of(model), _labelled(model, data_root, seed)
    pixels, truth = images("mnist", "test", data_root)
    on_real = (judge.classes(_unit(pixels)) == truth.numpy()).mean()
    return [
        Measurement(
            metric="requested digit recognised",
            value=100 * float((judge.classes(drawn.x) == drawn.labels).mean()),
            unit="%",
            data="drawn digits",
            size=len(drawn.x),
            seed=seed,
            note=f"the judge is right on {100 * on_real:.2f}% of MNIST test",
            judge=judge.sha256,
        )
    ]


@metric
def classification_accuracy_score(model: ExportedModel, data_root: Path | None, seed: int) -> list[Measurement]:
    """Accuracy on real test digits of a classifier that was trained on drawn ones (Ravuri & Vinyals 2019, arXiv 1905.10887).

    The gap is to one that was trained on as many real ones; the judge, trained on all of them, stands in the note.
    """
    judge, drawn = judge_of(model), _labelled(model, data_root, seed)
    assert drawn.labels is not None
    learnt = Images(torch.from_numpy((drawn.x * 255).round().astype(np.uint8)), torch.from_numpy(drawn.labels))
    test = Images(*images("mnist", "test", data_root))
    score = 100 * accuracy_after_training(learnt, test, seed)
    real, all_real = _training_digits(data_root, seed), len(images("mnist", "train", data_root)[0]) - HELD_OUT
    beside = 100 * accuracy_after_training(real, test, seed)
    of_all = 100 * (judge.classes(_unit(test.pixels)) == test.labels.numpy()).mean()
    rest = {"unit": "%", "data": "MNIST test", "size": len(test), "seed": seed, "judge": judge.sha256}
    note = f"of a classifier trained on {len(learnt)} drawn digits; trained on {len(real)} real digits {beside:.2f}%; "
    note += f"the judge, the same network trained on {all_real} real digits, {of_all:.2f}%"
    return [
        Measurement(metric="classification accuracy score", value=score, note=note, **rest),
        Measurement(metric="its gap to real", value=beside - score, note=note, **rest | {"unit": "points"}),
    ]


def accuracy_after_training(train: Images, test: Images, seed: int, epochs: float = 10) -> float:
    """Of the judge's kind of network, trained from scratch as its recipe says but for the number of steps."""
    recipe = load_recipe("mnist-features")
    batch_size = recipe.data.batch_size
    steps = max(2, round(epochs * len(train) / batch_size))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        summary = DataSummary("image", tuple(train.pixels.shape[1:]), class_names=tuple(map(str, range(10))))
        classifier = Classifier(recipe.model_config_, summary)
    optimizers = classifier.optimizers("model", recipe.optimizer)
    schedules = [torch.optim.lr_scheduler.LinearLR(o, 1.0, 0.0, steps) for o in optimizers]
    for step, batch in enumerate(Draws(train, batch_size, seed, steps)):
        with torch.autocast("cpu", torch.bfloat16):
            loss, _ = classifier.loss("model", batch, keyed(seed, step))
        loss.backward()
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    network = classifier.eval().network
    with torch.no_grad():
        right = [
            (network(batch["x"])[1].argmax(1) == batch["label"]).float()
            for batch in (test.at(indices) for indices in torch.arange(len(test)).split(250))
        ]
    return float(torch.cat(right).mean())


@metric
def stacked_modes(model: ExportedModel, data_root: Path | None, seed: int) -> list[Measurement]:
    """Which of the 1,000 triples of digits are drawn, and how evenly (Metz et al. 2017, arXiv 1611.02163)."""
    if model.manifest.data.shape[0] != 3:
        raise EvaluationError(f"stacked_modes: expected images of 3 digits, found {model.manifest.data.shape}")
    judge, drawn = judge_of(model), draw(model, STACKED_SAMPLES, seed)
    digits = judge.classes(drawn.x.reshape(-1, 1, *drawn.x.shape[2:])).reshape(-1, 3)
    covered, divergence = mode_coverage(digits @ np.array([100, 10, 1]), 1000)
    rest = {"data": "drawn triples of digits", "size": len(drawn.x), "seed": seed, "judge": judge.sha256}
    return [
        Measurement(metric="modes covered", value=covered, unit="of 1,000", **rest),
        Measurement(metric="KL to uniform", value=divergence, unit="nats", **rest),
    ]


def mode_coverage(modes: NDArray[np.int64], number: int) -> tuple[int, float]:
    """How many of `number` modes occur, and KL(their shares || uniform) in nats; modes (N,)."""
    shares = np.bincount(modes, minlength=number) / len(modes)
    present = shares[shares > 0]
    return len(present), float((present * np.log(present * number)).sum())


@lru_cache(maxsize=1)
def _real(model: ExportedModel, data_root: Path | None, seed: int) -> tuple[Array, Array, float]:
    """The judge's features of the test digits and of as many training digits as are drawn, and their distance, the floor."""
    judge = judge_of(model)
    test = judge.features(_unit(images("mnist", "test", data_root)[0]))
    real = judge.features(_unit(_training_digits(data_root, seed).pixels))
    return test, real, frechet_distance(test, real)


def _digits(model: ExportedModel, data_root: Path | None, seed: int, steps: int | None = None) -> Drawn:
    if model.manifest.data.dataset != "mnist":
        raise EvaluationError(f"{model.manifest.name}: expected a model of mnist, found {model.manifest.data.dataset}")
    labels = images("mnist", "train", data_root)[1]
    wanted = labels[torch.randint(len(labels), (SAMPLES,), generator=keyed(seed))]
    return draw(model, SAMPLES, seed, wanted.numpy(), steps)


def _labelled(model: ExportedModel, data_root: Path | None, seed: int) -> Drawn:
    drawn = _digits(model, data_root, seed)
    if drawn.labels is None:
        raise EvaluationError(f"{model.manifest.name}: expected a model that draws a class, found one without labels")
    return drawn


def _training_digits(data_root: Path | None, seed: int) -> Images:
    """As many real digits as are drawn, of those that models were trained on."""
    pixels, labels = images("mnist", "train", data_root)
    chosen = torch.randperm(len(pixels) - HELD_OUT, generator=keyed(seed))[:SAMPLES]
    return Images(pixels[chosen], labels[chosen])


def _unit(pixels: torch.Tensor) -> Array:
    return (pixels.float() / 255).numpy()
