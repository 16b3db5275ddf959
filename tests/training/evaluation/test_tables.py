"""A density that is known scores a table's test rows as it should, and its figures say so."""

import numpy as np
import pytest
import torch
from torch import nn

from contract import Capability, Manifest, write_manifest
from contract.manifest import Calibration, Data, FileRef, Scoring
from training.data.tables import Rows, table
from training.evaluate import EvaluationError, ExportedModel
from training.evaluation.binary import binary_log_likelihood
from training.evaluation.tables import table_anomalies, table_log_likelihood
from training.family import GraphExport
from training.graphs import sha256, write_graph


class Distance(nn.Module):
    """Minus the squared distance of a row from the synthetic table's ring: 0 on it, lower for its anomalies."""

    def __init__(self):
        super().__init__()
        self.one = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return -(((x[:, :2] * x[:, :2]).sum(1).sqrt() - self.one) ** 2)


@pytest.fixture
def model(tmp_path) -> ExportedModel:
    rows = table("synthetic-table", None)
    graph = GraphExport(
        Capability.LOG_DENSITY,
        Distance(),
        example={"x": rows.train[:2]},
        outputs=("log_prob",),
        dynamic_shapes={"x": {0: "batch"}},
        inputs=lambda batch: batch,
        tolerance=1e-4,
        density="exact",
    )
    described = write_graph(graph, Rows(rows.train), tmp_path, (1, 2))
    np.save(tmp_path / "calibration.npy", np.sort(Distance()(rows.train).detach().numpy().astype(np.float64)))
    scores = FileRef(file="calibration.npy", sha256=sha256(tmp_path / "calibration.npy"))
    manifest = Manifest(
        name="ring",
        version="1",
        family="known",
        description="",
        licence="",
        capabilities={Capability.LOG_DENSITY: described},
        data=Data(kind="vector", dataset="synthetic-table", shape=(4,)),
        calibration=Calibration(scores=scores, size=len(rows.train), statistic="log_prob", data="train"),
    )
    write_manifest(tmp_path, manifest)
    return ExportedModel.open(tmp_path)


def test_the_likelihood_is_the_mean_over_normal_test_rows(model):
    (figure,) = table_log_likelihood(model, None, seed=0)
    rows = table("synthetic-table", None)
    expected = Distance()(rows.test[rows.anomalous == 0]).mean().item()
    assert figure.value == pytest.approx(expected, abs=1e-5)
    assert figure.size == 400
    assert figure.unit == "nats/row"


def test_anomalies_are_the_positives(model):
    figures = table_anomalies(model, None, seed=0)
    value = {(f.metric, f.data): f.value for f in figures}
    against = "synthetic-table test, 50 anomalies among 450 rows"
    assert value["AUROC", against] > 0.999
    assert value["average precision", against] > 0.99
    assert value["FPR at 95% TPR", against] < 1
    assert figures[0].note == "anomalies are the positives, 11.1% of the items"
    assert value["flagged at alpha = 0.05", "synthetic-table test, normal rows"] == pytest.approx(5, abs=3)
    assert value["flagged at alpha = 0.05", "synthetic-table test, anomalies"] == 100


def test_a_model_of_images_is_refused(model, tmp_path):
    images = model.manifest.model_copy(update={"data": Data(kind="image", dataset="mnist", shape=(1, 28, 28))})
    with pytest.raises(EvaluationError, match="ring: expected a model of vectors, found one of image"):
        table_log_likelihood(ExportedModel(tmp_path, images), None, seed=0)


def test_binary_images_are_drawn_with_grey_values_as_probabilities(model, monkeypatch):
    """A model whose log_prob is the number of ones has MNIST's mean ink as its likelihood."""
    seen = []

    def count(self, capability, inputs, output):
        seen.append(inputs["x"])
        return inputs["x"].sum((1, 2, 3))

    pixels = torch.randint(0, 256, (500, 1, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr("training.evaluation.binary.images", lambda *_: (pixels, None))
    monkeypatch.setattr(ExportedModel, "run", count)
    (figure,) = binary_log_likelihood(model, None, seed=0)
    assert set(np.unique(seen[0])) == {0.0, 1.0}
    assert figure.value == pytest.approx((pixels.float() / 255).sum((1, 2, 3)).mean().item(), rel=0.02)


class Scored(nn.Module):
    """Two statistics of a row, of which only the second one knows the ring."""

    def __init__(self):
        super().__init__()
        self.distance = Distance()

    def forward(self, x):
        return torch.stack([x[:, 3] * 0.0, self.distance(x)], 1)


def test_of_several_statistics_the_default_is_measured(model, tmp_path):
    rows, place = table("synthetic-table", None), tmp_path / "scored"
    place.mkdir()
    graph = GraphExport(
        Capability.SCORE,
        Scored(),
        example={"x": rows.train[:2]},
        outputs=("normality",),
        dynamic_shapes={"x": {0: "batch"}},
        inputs=lambda batch: batch,
        tolerance=1e-4,
    )
    described = write_graph(graph, Rows(rows.train), place, (1, 2))
    np.save(place / "calibration.npy", np.sort(Scored()(rows.train).detach().numpy().astype(np.float64).T))
    scores = FileRef(file="calibration.npy", sha256=sha256(place / "calibration.npy"))
    of_ring = model.manifest.calibration.model_copy(update={"scores": scores, "statistic": "normality"})
    changes = {"capabilities": {Capability.SCORE: described}, "calibration": of_ring}
    found = {}
    for default in ("nothing", "ring"):
        scoring = Scoring(statistics=("nothing", "ring"), default=default)
        manifest = model.manifest.model_copy(update={**changes, "scoring": scoring})
        found[default] = {f.metric: f.value for f in table_anomalies(ExportedModel(place, manifest), None, seed=0)}
    assert found["nothing"]["AUROC"] == 0.5
    assert found["ring"]["AUROC"] > 0.999
    assert found["ring"]["flagged at alpha = 0.05"] == 100
