"""Every statistic is what its definition says, the ensemble and the surprise add up, and the graph is what torch computes."""

import json
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from contract import Capability, read_manifest
from contract.manifest import Column
from training import pseudo_rows
from training.data import load
from training.data.tables import Rows, table
from training.export import export
from training.family import DataSummary
from training.graphs import open_session, write_graph
from training.layers.flows import Flows
from training.loop import Trained, train
from training.models.table import STATISTICS, Scores, TableScores
from training.recipe import load_recipe

SMALL = tuple(name for name in STATISTICS if name != "flow")
"""What a table of few rows is scored by."""


def rows(number: int, seed: int) -> torch.Tensor:
    """Five columns on a bent sheet: of other scales, far from the origin, one of few values and one constant."""
    u, v, noise = torch.randn(3, number, generator=torch.Generator().manual_seed(seed))
    columns = [u, u * u + 0.1 * noise, 100 + 5 * v, (v > 0).float(), torch.full_like(u, 7.0)]
    return torch.stack(columns, 1)


def fitted(x: torch.Tensor, **changes) -> TableScores:
    family = TableScores(TableScores.Config(**{"components": 4, **changes}), DataSummary("vector", (x.shape[1],)))
    family.prepare(Rows(x))
    return family.eval()


@pytest.fixture(scope="module")
def family() -> TableScores:
    made = fitted(rows(300, 0))
    made.fit([{"x": rows(60, 1)}])
    return made


@pytest.fixture(scope="module")
def scores(family) -> Scores:
    return Scores(family, family.weights, family.default).eval()


@torch.no_grad()
def normality(scores: Scores, x: torch.Tensor, name: str) -> torch.Tensor:
    return scores(x)[0][:, [*SMALL, "ensemble"].index(name)]


def test_knn_is_the_distance_to_the_nearest_in_standard_deviations(family, scores):
    known, x = rows(300, 0).double(), rows(40, 2).double()
    deviation = known.std(0)
    deviation[deviation == 0] = 1
    squares = ((x[:, None] - known) / deviation).square().sum(2).sort(1).values[:, :3]
    assert (normality(scores, x.float(), "knn") + squares.mean(1).sqrt()).abs().max() < 1e-4


def test_kde_and_gaussian_are_densities_of_standardised_columns():
    """In two columns they integrate to one."""
    x = rows(200, 0)[:, :2]
    family = fitted(x, statistics=("kde", "gaussian", "mixture"))
    scores = Scores(family, None).eval()
    low, high = (x.mean(0) + side * 10 * x.std(0) for side in (-1, 1))
    axes = [torch.linspace(a, b, 600) for a, b in zip(low.tolist(), high.tolist(), strict=True)]
    with torch.no_grad():
        mass = sum(scores(part)[0][:, :2].exp().sum(0) for part in torch.cartesian_prod(*axes).split(20_000))
    cell = ((high - low) / x.std(0)).prod() / 599**2
    assert (mass * cell).tolist() == pytest.approx([1, 1], abs=1e-2)


def test_a_known_row_is_scored_by_what_has_not_seen_it(family):
    """A leave-one-out kernel density, made without the row, is the held-out one."""
    known, h = family.known.double(), family.bandwidth().double()
    kernels = family.statistics()["kde"].held_out(family.known)
    for row in (0, 17):
        others = known[torch.arange(len(known)) != row]
        exponents = -0.5 * ((known[row] - others) / h).square().sum(1)
        expected = exponents.logsumexp(0) - math.log(len(known)) - 5 * (h.log() + 0.5 * math.log(2 * math.pi))
        assert kernels[row].item() == pytest.approx(expected.item(), abs=1e-3)


def test_held_out_scores_are_like_those_of_new_rows(family):
    new = rows(2000, 5)
    for name, statistic in family.statistics().items():
        with torch.no_grad():
            held_out = statistic.held_out(family.known)
            found = statistic((new - family.centre) * family.scale)[0]
        is_new = np.repeat([0, 1], [len(held_out), len(found)])
        assert roc_auc_score(is_new, torch.cat([held_out, found])) == pytest.approx(0.5, abs=0.08), name


def test_the_ensemble_is_the_mean_log_share_and_the_surprise_adds_up_to_it(family, scores):
    x = torch.cat([rows(50, 3), rows(50, 4) + 3])
    with torch.no_grad():
        found, surprise = scores(x)
        tails = scores.tails(found[:, :-1])
    assert family.weights.sum().item() == pytest.approx(1)
    assert family.weights[0] >= 0.5
    assert (tails <= 0).all()
    assert (found[:, -1] - tails @ family.weights).abs().max() < 1e-4
    assert (surprise >= 0).all()
    assert (surprise.sum(1) + found[:, -1]).abs().max() < 1e-3


def test_the_surprise_is_in_the_column_that_is_wrong(scores):
    x = rows(50, 3)
    for column in (0, 2, 4):
        spoilt = x.clone()
        spoilt[:, column] += 10 * max(1.0, x[:, column].std().item())
        with torch.no_grad():
            _, surprise = scores(spoilt)
        assert (surprise.argmax(1) == column).float().mean() > 0.95


def test_anomalies_of_each_kind_are_found(family, scores):
    x, known = rows(400, 6), rows(300, 0)
    generator = torch.Generator().manual_seed(0)
    normal = normality(scores, x, "ensemble")
    for name, make in pseudo_rows.KINDS.items():
        strange = normality(scores, make(x, known, generator), "ensemble")
        auroc = roc_auc_score(np.repeat([1, 0], [len(normal), len(strange)]), torch.cat([normal, strange]))
        assert auroc > (0.55 if name == "one value of another row" else 0.65), name


def test_weights_go_to_what_helps():
    """On a ring whose anomalies are in the middle, half-way between its rows, a Gaussian gets nothing."""
    rings = table("synthetic-table", None)
    family = fitted(rings.train[:1000], statistics=("knn", "gaussian", "mixture", "ensemble"), components=16)
    weights = family.fit([{"x": rings.train[1000:1400]}])
    assert weights["weight_of_gaussian"] == 0
    assert "ensemble whose weights were chosen" in family.chosen_by
    assert family.manifest_parts()["scoring"].default == "ensemble"
    ensemble = Scores(family, family.weights, family.default).eval()
    with torch.no_grad():
        found = ensemble(rings.test)[0][:, -1]
    assert roc_auc_score(rings.anomalous, -found) > 0.99


def test_without_an_ensemble_the_best_statistic_is_the_default():
    rings = table("synthetic-table", None)
    family = fitted(rings.train[:1000], statistics=("gaussian", "knn"))
    family.fit([{"x": rings.train[1000:1400]}])
    scoring = family.manifest_parts()["scoring"]
    assert (scoring.statistics, scoring.default) == (("knn", "gaussian"), "knn")


def test_many_held_out_rows_are_scored_part_by_part(monkeypatch):
    """All of them at once would take as much memory as held-out rows times known ones."""
    x = rows(150, 1)
    whole = fitted(rows(300, 0)).fit([{"x": x}])
    sizes, forward = set(), Scores.forward
    monkeypatch.setattr(Scores, "forward", lambda self, x: sizes.add(len(x)) or forward(self, x))
    monkeypatch.setattr("training.models.table.TOGETHER", 64)
    assert fitted(rows(300, 0)).fit([{"x": x}]) == whole
    assert max(sizes) == 64


@pytest.mark.parametrize("statistics", [(*STATISTICS, "ensemble"), ("kde",)])
def test_a_rows_score_does_not_depend_on_its_batch(statistics, tmp_path):
    family, x = fitted(rows(700, 0), statistics=statistics, components=2), rows(64, 3)
    family.fit([{"x": rows(60, 1)}])
    (graph,) = family.graphs()
    described = write_graph(graph, Rows(x), tmp_path, (1, 2, 3, 7, 8, 16, 32))
    assert described.parity.max_abs_diff <= 1e-2
    assert described.batch_invariance.max_abs_diff <= 1e-4
    found = open_session(tmp_path / described.file).run(None, {"x": x.numpy()})
    with torch.no_grad():
        expected = Scores(family, family.weights, family.default).eval()(x)
    for name, ours, theirs in zip(("normality", "surprise"), expected, found, strict=True):
        assert np.abs(ours.numpy() - theirs).max() < 1e-2, name


def test_a_flow_is_among_them_where_there_are_rows_enough(tmp_path, monkeypatch):
    monkeypatch.setattr(Flows.fit, "__defaults__", (100,))
    monkeypatch.setattr(Flows.__init__, "__defaults__", (1, 4, 8))  # layers, bins, width
    few = fitted(rows(999, 0), statistics=("knn", "flow", "ensemble"))
    assert few.names == ("knn", "ensemble")
    family, x = fitted(rows(1000, 0), statistics=("knn", "flow", "ensemble")), rows(64, 3)
    assert family.names == ("knn", "flow", "ensemble")
    again = TableScores(family.config, family.data)
    again.load_state_dict(family.state_dict())
    family, held_out = again.eval(), rows(200, 1)
    assert "weight_of_flow" in family.fit([{"x": held_out}])
    (graph,) = family.graphs()
    described = write_graph(graph, Rows(x), tmp_path, (1, 2, 3, 7, 8, 16))
    assert described.parity.max_abs_diff <= 1e-2
    assert described.batch_invariance.max_abs_diff <= 1e-4
    (left_out,) = (s.held_out(family.known) for name, s in family.statistics().items() if name == "flow")
    with torch.no_grad():
        new = Scores(family, family.weights, family.default).eval()(held_out)[0][:, 1]
    assert float(left_out.median()) == pytest.approx(float(new.median()), abs=1.0)
    with pytest.raises(ValueError, match="a flow alone needs 1000 rows at least, found 300"):
        fitted(rows(300, 0), statistics=("flow",))


def test_rows_that_are_known_and_rows_that_are_far_have_scores(scores):
    far = torch.cat([rows(5, 0), rows(5, 1) * 1e6, torch.zeros(1, 5), torch.full((1, 5), -1e9)])
    with torch.no_grad():
        for output in scores(far):
            assert output.isfinite().all()


def test_more_rows_than_places_and_too_few_to_learn_from():
    assert len(fitted(rows(300, 0), points=100, statistics=("knn",)).known) == 100
    assert len(fitted(rows(300, 0), points=1000, statistics=("knn",)).known) == 300
    with pytest.raises(ValueError, match="expected 10 rows to learn from at least, found 9"):
        fitted(rows(9, 0))


def test_unknown_statistics_and_images_are_refused():
    with pytest.raises(ValueError, match=r"model\.statistics: expected some of knn, .* found knn, forest"):
        fitted(rows(50, 0), statistics=("knn", "forest"))
    with pytest.raises(ValueError, match=r"model\.statistics: .* found ensemble"):
        fitted(rows(50, 0), statistics=("ensemble",))
    with pytest.raises(ValueError, match=r"expected vectors, found image; data\.encoder makes vectors"):
        TableScores(TableScores.Config(), DataSummary("image", (1, 4, 4)))


def test_training_finds_the_bandwidth_that_a_search_finds():
    family, losses = fitted(rows(300, 0), statistics=("kde",)), {}
    optimizer = torch.optim.Adam(family.parameters(), 0.05)
    for step in range(80):
        loss, _ = family.loss("model", {"x": torch.zeros(300, 5)}, torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = family.log_bandwidth.item()
    for candidate in torch.linspace(-2, 1, 31).tolist():
        family.log_bandwidth.data.fill_(candidate)
        losses[candidate] = family.loss("model", {"x": torch.zeros(5000, 5)}, torch.Generator())[0].item()
    assert found == pytest.approx(min(losses, key=losses.get), abs=0.25)


def test_a_file_is_trained_on_exported_calibrated_and_described_by_its_columns(tmp_path):
    rng = np.random.default_rng(0)
    lines = [f"{rng.normal():.3f},{'' if i % 9 == 0 else i % 50},{('open', 'shut')[i % 2]}\n" for i in range(300)]
    (tmp_path / "plant.csv").write_text("pressure,flow,valve\n" + "".join(lines))
    changes = {
        "name": "plant",
        "data.path": str(tmp_path / "plant.csv"),
        "train.steps": 3,
        "export.batch_sizes": [1, 3],
        "model.statistics": ["knn", "gaussian", "ensemble"],
    }
    recipe = load_recipe("table", [f"--{key}={json.dumps(value)}" for key, value in changes.items()])
    data = load(recipe.data, None)
    trained = train(recipe, data, tmp_path / "run", {"accelerator": "cpu", "devices": 1}, progress=False)
    assert isinstance(trained, Trained)
    manifest = read_manifest(export(recipe, trained, data, tmp_path / "exported"))
    assert manifest.data.columns == (
        Column(name="pressure"),
        Column(name="flow", may_be_missing=True, fill=24.0),
        Column(name="valve", kind="category", categories=("open", "shut")),
    )
    assert manifest.data.shape == (5,)
    assert manifest.scoring.default == "ensemble"
    assert manifest.scoring.statistics == ("knn", "gaussian", "ensemble")
    assert "30 held-out rows" in manifest.scoring.chosen_by
    assert (manifest.calibration.statistic, manifest.calibration.size) == ("normality", 30)
    weights = manifest.provenance.hyper_parameters["fitted"]
    assert sum(weights.values()) == pytest.approx(1)
    assert manifest.capabilities[Capability.SCORE].batch_invariance.max_abs_diff <= 1e-4
