"""What an embedding knows of classes that it was not told: simple classifiers on frozen features of digits."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from contract import Capability
from contract.manifest import Measurement
from training.data.images import images
from training.evaluate import ExportedModel, metric

INVERSE_PENALTY = 0.1  # chosen on held-out training digits
TEST = "MNIST test"


@metric
def accuracy(model: ExportedModel, data_root: Path | None, seed: int) -> list[Measurement]:
    """Of a model that classifies."""
    x, labels = _digits("test", data_root)
    right = model.run(Capability.ENCODE, {"x": x}, "logits").argmax(1) == labels
    return [Measurement(metric="accuracy", value=100 * float(right.mean()), unit="%", data=TEST, size=len(labels))]


@metric
def linear_probe(model: ExportedModel, data_root: Path | None, seed: int) -> list[Measurement]:
    """Logistic regression on standardised features of the whole training set."""
    probe = LogisticRegression(C=INVERSE_PENALTY, max_iter=300)
    value, size, dims = _probe(model, data_root, make_pipeline(StandardScaler(), probe))
    note = f"logistic regression on the {dims} frozen features of 60,000 training digits"
    return [Measurement(metric="linear probe", value=value, unit="%", data=TEST, size=size, note=note)]


@metric
def knn_probe(model: ExportedModel, data_root: Path | None, seed: int) -> list[Measurement]:
    """The three nearest training digits vote."""
    value, size, dims = _probe(model, data_root, KNeighborsClassifier(3, metric="cosine", algorithm="brute"))
    note = f"by the cosine of the {dims} frozen features, among 60,000 training digits"
    return [Measurement(metric="3 nearest neighbours", value=value, unit="%", data=TEST, size=size, note=note)]


def _probe(model: ExportedModel, data_root: Path | None, classifier: Any) -> tuple[float, int, int]:
    """Accuracy on the test digits in per cent, their number, and the embedding's size."""
    (x, labels), (test, truth) = _digits("train", data_root), _digits("test", data_root)
    features = model.run(Capability.ENCODE, {"x": x}, "embedding")
    classifier.fit(features, labels)
    accuracy = classifier.score(model.run(Capability.ENCODE, {"x": test}, "embedding"), truth)
    return 100 * float(accuracy), len(truth), features.shape[1]


def _digits(split: str, data_root: Path | None) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    pixels, labels = images("mnist", split, data_root)
    return (pixels.float() / 255).numpy(), labels.numpy()
