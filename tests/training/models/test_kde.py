"""The density is the plain sum over kernels in any dimension, integrates to one, and its bandwidth is the best left out."""

import json
import math

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from contract import Capability, read_manifest
from training.data import Dataset, load
from training.data.source import DataError
from training.data.tables import Rows
from training.export import export
from training.family import DataSummary, GraphExport
from training.graphs import open_session, write_graph
from training.loop import Trained, train
from training.models.kde import KDE
from training.recipe import DataConfig, load_recipe

KINDS = [{"scaling": s, "bandwidths": b} for s in ("columns", "whitening") for b in ("one", "each")]


def rows(columns: int, number: int = 300, seed: int = 0) -> torch.Tensor:
    """Correlated, of different scales, far from the origin."""
    mix = torch.randn(columns, columns, generator=torch.Generator().manual_seed(1))
    x = torch.randn(number, columns, generator=torch.Generator().manual_seed(seed)) @ mix
    return x * torch.linspace(1, 5, columns) + 100


def fitted(columns: int, points: int = 300, **changes) -> KDE:
    family = KDE(KDE.Config(points=points, **changes), DataSummary("vector", (columns,)))
    family.prepare(Rows(rows(columns)))
    family.log_bandwidth.data.add_(torch.linspace(-0.3, 0.2, len(family.log_bandwidth)))
    return family.eval()


def plain_log_prob(family: KDE, x: torch.Tensor) -> torch.Tensor:
    """The obvious reference: differences, not products, in float64; (B,)."""
    points = family.points[: family.count].double()
    bandwidth = family.log_bandwidth.double().exp() * len(points) ** (-1 / (points.shape[1] + 4))
    transform = family.transform.double() / bandwidth
    u = (x.double()[:, None] - points) @ transform  # (B, N, D)
    normaliser = torch.linalg.slogdet(transform).logabsdet - points.shape[1] / 2 * math.log(2 * math.pi)
    return (-0.5 * u.square().sum(-1)).logsumexp(1) - math.log(len(points)) + normaliser


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("columns", [1, 5, 60])
def test_the_matrix_product_is_the_plain_sum(kind, columns):
    family, x = fitted(columns, **kind), rows(columns, 50, seed=2)
    with torch.no_grad():
        assert (family.density()(x) - plain_log_prob(family, x)).abs().max() < 2e-4


@pytest.mark.parametrize("kind", KINDS)
def test_the_density_of_two_columns_integrates_to_one(kind):
    family = fitted(2, **kind)
    low, high = rows(2).amin(0) - 10, rows(2).amax(0) + 10
    axes = [torch.linspace(a, b, 500) for a, b in zip(low.tolist(), high.tolist(), strict=True)]
    with torch.no_grad():
        mass = sum(family.density()(part).exp().sum() for part in torch.cartesian_prod(*axes).split(50_000))
    assert (mass * (high - low).prod() / 499**2).item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_leaves_each_point_out(kind):
    """With as many draws as there are points, the mean is that of estimates made without each point."""
    family = fitted(3, points=40, **kind)
    loss, _ = family.loss("model", {"x": torch.zeros(20_000, 3)}, torch.Generator().manual_seed(0))
    every, left_out = family.points.clone(), []
    bandwidth = 40 ** (-1 / 7) / 39 ** (-1 / 7)  # the reference must not adapt it to 39 points
    for i in range(40):
        family.points, family.count = every[torch.arange(40) != i], torch.tensor(39)
        family.log_bandwidth.data.add_(math.log(bandwidth))
        left_out.append(plain_log_prob(family, every[i : i + 1]))
        family.log_bandwidth.data.sub_(math.log(bandwidth))
    assert loss.item() == pytest.approx(-torch.cat(left_out).mean().item(), abs=0.1)


def test_training_finds_the_bandwidth_that_a_search_finds():
    family = fitted(2, points=300)
    (optimizer,) = [torch.optim.Adam(family.parameters(), 0.05)]
    for step in range(80):
        loss, _ = family.loss("model", {"x": torch.zeros(300, 2)}, torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found, losses = family.log_bandwidth.item(), {}
    for candidate in torch.linspace(-1.5, 1, 26).tolist():
        family.log_bandwidth.data.fill_(candidate)
        losses[candidate] = family.loss("model", {"x": torch.zeros(5000, 2)}, torch.Generator())[0].item()
    assert found == pytest.approx(min(losses, key=losses.get), abs=0.25)


def test_fewer_rows_than_places_and_more_rows_than_places():
    few, many = fitted(3, points=1000), fitted(3, points=100)
    assert (int(few.count), int(many.count)) == (300, 100)
    assert len(few.density().half_squares) == 300
    assert few.density()(rows(3, 5)).isfinite().all()


def test_a_constant_column_is_no_division_by_zero():
    x = rows(3)
    x[:, 1] = 4.0
    for scaling in ("columns", "whitening"):
        family = KDE(KDE.Config(scaling=scaling), DataSummary("vector", (3,)))
        family.prepare(Rows(x))
        assert family.density()(x).isfinite().all()


@pytest.mark.parametrize("columns", [5, 33])
def test_a_rows_score_does_not_depend_on_its_batch(columns, tmp_path):
    family, x = fitted(columns), rows(columns, 64, seed=3)
    (graph,) = family.graphs()
    described = write_graph(graph, Rows(x), tmp_path, (1, 2, 3, 7, 8, 16, 32))
    assert described.density == "exact"
    assert described.parity.max_abs_diff <= 1e-4
    assert described.batch_invariance.max_abs_diff == 0
    (log_prob,) = open_session(tmp_path / described.file).run(["log_prob"], {"x": x.numpy()})
    assert np.abs(log_prob - plain_log_prob(family, x).detach().numpy()).max() < 2e-4


def test_images_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"expected vectors, found image; data\.encoder makes vectors"):
        KDE(KDE.Config(), DataSummary("image", (1, 4, 4)))


class Halves(nn.Module):
    """An encoder for tests: the mean of each row of pixels, doubled."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.full((28, 1), 2 / 28))

    def forward(self, x):  # (B, 1, 28, 28)
        return (x.squeeze(1) @ self.weight).squeeze(2)  # (B, 28)

    def fit(self, held_out):
        return {}

    def manifest_parts(self):
        return {}

    def graphs(self):
        x = {"x": torch.zeros(2, 1, 28, 28)}
        inputs = {"inputs": lambda batch: {"x": batch["x"]}, "dynamic_shapes": {"x": {0: "batch"}}, "tolerance": 1e-4}
        return [GraphExport(Capability.ENCODE, self, x, ("embedding",), **inputs)]


OVERRIDES = {
    "data.dataset": "synthetic-images",
    "data.batch_size": 50,
    "model.points": 400,
    "train.steps": 4,
    "train.validate_every": 2,
    "export.batch_sizes": [1, 3, 8],
}


def recipe_of(name: str, **changes: object):
    return load_recipe(name, [f"--{key}={json.dumps(value)}" for key, value in {**OVERRIDES, **changes}.items()])


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A store with an encoder in it."""
    place, recipe = (
        tmp_path_factory.mktemp("exported"),
        load_recipe("mnist-contrastive", ["--export.batch_sizes=[1, 2]"]),
    )
    images = load(DataConfig(dataset="synthetic-images"), None)
    export(recipe.model_copy(update={"name": "halves"}), Trained(Halves().eval(), 1, 1.0, "none"), images, place)
    return place


def test_images_are_scored_by_the_density_of_their_embedding(exported, tmp_path):
    recipe = recipe_of("pendigits-kde", **{"data.encoder": "halves/1"})
    data = load(recipe.data, None, exported)
    assert data.summary == DataSummary("vector", (28,))
    trained = train(recipe, data, tmp_path / "run", {"accelerator": "cpu", "devices": 1}, progress=False)
    place = export(recipe, trained, data, tmp_path / "exported")
    manifest = read_manifest(place)
    graph = manifest.capabilities[Capability.LOG_DENSITY]
    assert (manifest.data.kind, manifest.data.shape) == ("image", (1, 28, 28))
    assert graph.density == "energy"
    assert graph.parity.max_abs_diff <= 1e-4
    assert graph.batch_invariance.max_abs_diff == 0
    assert manifest.provenance.hyper_parameters["fitted"]["encoder"] == data.encoder.sha256
    x = data.encoded.calibration.at(torch.arange(20))["x"]
    (log_prob,) = onnxruntime.InferenceSession(place / graph.file).run(["log_prob"], {"x": x.numpy()})
    with torch.no_grad():
        expected = plain_log_prob(trained.family, Halves()(x))
    assert np.abs(log_prob - expected.numpy()).max() < 2e-4


def test_an_encoder_that_does_not_fit_is_refused(exported, tmp_path):
    def loading(**changes) -> Dataset:
        return load(DataConfig(**{"dataset": "synthetic-images", "encoder": "halves/1", **changes}), None, exported)

    with pytest.raises(DataError, match=r"data\.encoder: .*thirds/1: .*export that model first"):
        loading(encoder="thirds/1")
    with pytest.raises(
        DataError, match=r"expected a model of image \[3, 28, 28\], found .* one of image \[1, 28, 28\]"
    ):
        loading(dataset="synthetic-colours")
    with pytest.raises(DataError, match=r"data\.encoder: expected a model of vector \[4\]"):
        loading(dataset="synthetic-table")
