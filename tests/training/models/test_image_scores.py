"""The exported scores: what they are, that they tell what is strange and where, and that alarms are as rare as promised."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from contract import Capability
from service.tasks.score import p_values
from training.data import Dataset, load
from training.data.source import DataError
from training.evaluate import ExportedModel
from training.evaluation.anomalies import auroc, normality
from training.evaluation.sheets import write_sheet
from training.export import export
from training.family import DataSummary
from training.graphs import open_session
from training.loop import Trained, train
from training.models.image_scores import NAMES, ImageScores, grey_levels
from training.recipe import Recipe, load_recipe

SMALL = [
    "--data.dataset=synthetic-images",
    "--model.points=100",
    "--model.directions=24",
    "--model.components=8",
    "--export.batch_sizes=[1, 2, 5, 16]",
]
SHIPPED = Path(__file__).parents[3] / "exported" / "mnist-scores" / "1"


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe("mnist-scores", SMALL)


@pytest.fixture(scope="module")
def dataset(recipe) -> Dataset:
    return load(recipe.data, None)


@pytest.fixture(scope="module")
def trained(recipe, dataset, tmp_path_factory) -> Trained:
    return train(recipe, dataset, tmp_path_factory.mktemp("run"), progress=False)


@pytest.fixture(scope="module")
def model(recipe, trained, dataset, tmp_path_factory) -> ExportedModel:
    return ExportedModel.open(export(recipe, trained, dataset, tmp_path_factory.mktemp("exported")))


@pytest.fixture(scope="module")
def normal(dataset) -> np.ndarray:
    """Of the calibration images, those that did not choose the default."""
    return dataset.calibration.at(torch.arange(50, 100))["x"].numpy()


def scored(model: ExportedModel, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    session = model.session(Capability.SCORE)
    return tuple(session.run(["normality", "surprise"], {"x": x.astype(np.float32)}))


def test_a_family_without_parameters_takes_no_step_and_is_found_again(recipe, dataset, trained, tmp_path):
    assert not list(trained.family.parameters())
    again = train(recipe, dataset, tmp_path / "run", progress=False)
    assert trained.seconds > 0
    for name, value in trained.family.state_dict().items():
        torch.testing.assert_close(again.family.state_dict()[name], value)
    assert train(recipe, dataset, tmp_path / "run", progress=False).seconds == again.seconds


def test_the_manifest_names_the_columns_and_how_the_default_was_chosen(model):
    scoring, graph = model.manifest.scoring, model.manifest.capabilities[Capability.SCORE]
    assert scoring.statistics == NAMES
    assert scoring.default in NAMES
    assert "made of them" in scoring.chosen_by
    assert graph.parity.max_abs_diff <= graph.parity.tolerance
    assert graph.batch_invariance.max_abs_diff == 0
    fitted = model.manifest.provenance.hyper_parameters["fitted"]
    assert fitted[f"auroc_of_pseudo_anomalies_by_{scoring.default}"] > 0.8


def test_strange_images_score_lower(model, normal):
    rng = np.random.default_rng(0)
    by_default = normality(model, normal)
    grey = np.full_like(normal, 0.5)
    noise = rng.random(normal.shape, np.float32)
    for strange in (grey, noise, 1 - normal, np.zeros_like(normal), np.ones_like(normal), normal**3):
        assert auroc(by_default, normality(model, strange)) > 0.99


def test_log_prob_is_that_of_the_grey_levels(model, trained, normal):
    """A pixel's levels, tried one after the other, have probabilities that add up to one."""
    x = np.repeat(normal[:1], 256, 0)
    x[:, 0, 27, 27] = np.arange(256, dtype=np.float32) / np.float32(255)  # nothing comes after the last pixel
    log_prob = normality(model, x, "log_prob")
    contexts, levels = trained.family.scores.contexts, grey_levels(torch.from_numpy(x[:1]))
    before = contexts(levels)[0].flatten()[:-1].sum().item()  # of all pixels but the last
    assert np.exp(log_prob - before).sum() == pytest.approx(1, abs=1e-2)  # sums of thousands of nats in float32


@pytest.mark.parametrize("default", ["combined", "nearest", "gaussian", "log_prob", "reconstruction"])
def test_surprise_adds_up_to_how_rare_the_default_is(trained, normal, default):
    scores, x = trained.family.scores, torch.from_numpy(normal)
    chosen, scores.default = scores.default, NAMES.index(default)
    with torch.no_grad():
        found, surprise = scores(x)
        tails = scores.tails(found[:, :-1])
    scores.default = chosen
    whole = -found[:, -1] if default == "combined" else -tails[:, NAMES.index(default)]
    assert (surprise >= 0).all()
    torch.testing.assert_close(surprise.flatten(1).sum(1), whole, rtol=1e-4, atol=1e-4)


def test_a_row_alone_is_the_row_in_a_batch(model, normal):
    session = open_session(model.directory / "score.onnx")
    whole = session.run(["normality", "surprise"], {"x": normal[:16]})
    for first, size in ((3, 2), (0, 5), (7, 9)):
        part = session.run(["normality", "surprise"], {"x": normal[first : first + size]})
        for a, b in zip(part, whole, strict=True):
            np.testing.assert_array_equal(a, b[first : first + size])


@pytest.mark.parametrize("strange", [-3.0, 0.0, 1.0, 300.0])
def test_values_far_outside_of_the_range_have_scores_too(model, strange):
    for found in scored(model, np.full((2, 1, 28, 28), strange)):
        assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("kind", "shape"), [("image", (3, 28, 28)), ("image", (1, None, None)), ("vector", (16,)), ("text", ())]
)
def test_other_data_than_grey_images_of_one_size_are_refused(kind, shape):
    with pytest.raises(ValueError, match="data: expected grey images of one size"):
        ImageScores(ImageScores.Config(), DataSummary(kind, shape))


def test_more_points_than_images_are_refused(dataset):
    with pytest.raises(ValueError, match="points: expected at most as many as there are rows, 450, found 2048"):
        ImageScores(ImageScores.Config(), dataset.summary).prepare(dataset.train)


def test_one_class_is_all_that_is_seen(recipe):
    one = load(recipe.data.model_copy(update={"classes": (3,)}), None)
    for part in (one.train, one.validation, one.calibration):
        assert set(part.at(torch.arange(len(part)))["label"].tolist()) == {3}
    whole = load(recipe.data, None)
    assert len(one.calibration) < len(whole.calibration)
    with pytest.raises(DataError, match=r"data.classes: found no image of \[77\]; there are 0, 1"):
        load(recipe.data.model_copy(update={"classes": (77,)}), None)


@pytest.mark.skipif(not SHIPPED.is_dir(), reason="needs exported/mnist-scores/1")
class TestShipped:
    """Digits drawn by hand, so that no data is needed: a seven, and what is wrong with it."""

    @pytest.fixture
    def seven(self) -> np.ndarray:
        x = torch.zeros(1, 1, 28, 28)
        x[0, 0, 5:8, 8:20] = 1
        for row in range(8, 24):
            column = 18 - (row - 8) // 2
            x[0, 0, row, column - 1 : column + 2] = 1
        return torch.nn.functional.avg_pool2d(x, 3, 1, 1).clamp(max=0.75).div(0.75).numpy()

    def p(self, x: np.ndarray) -> np.ndarray:
        model = ExportedModel.open(SHIPPED)
        row = model.manifest.scoring.statistics.index(model.manifest.scoring.default)
        calibration = np.load(SHIPPED / model.manifest.calibration.scores.file)[row]
        return p_values(normality(model, x), calibration)

    @pytest.mark.parametrize(("row", "column"), [(17, 18), (12, 5), (20, 3), (3, 22)])
    def test_surprise_points_at_a_patch(self, seven, row, column):
        model, spoilt = ExportedModel.open(SHIPPED), seven.copy()
        spoilt[0, 0, row : row + 5, column : column + 5] = 0.6
        _, surprise = scored(model, spoilt)
        smooth = torch.nn.functional.avg_pool2d(torch.from_numpy(surprise), 3, 1, 1)[0, 0]
        peak = divmod(int(smooth.argmax()), 28)
        assert row - 2 <= peak[0] <= row + 6
        assert column - 2 <= peak[1] <= column + 6
        before, after = normality(model, np.concatenate([seven, spoilt]))
        assert after < before

    def test_what_no_digit_looks_like_is_as_rare_as_can_be_said(self, seven):
        rng = np.random.default_rng(0)
        strange = [
            np.full_like(seven, 0.5),
            1 - seven,
            rng.random(seven.shape),
            np.roll(seven, 6, 3),
            np.zeros_like(seven),
        ]
        assert (self.p(np.concatenate(strange).astype(np.float32)) <= 0.002).all()

    @pytest.mark.slow
    def test_the_bars(self, data_root):
        from training.evaluate import find_metrics

        names = ("scored_omniglot", "scored_corruptions", "scored_simple", "scored_flagged_shares")
        model = ExportedModel.open(SHIPPED)
        found = [m for f in find_metrics(names) for m in f(model, data_root, 0)]
        omniglot, mean, worst, simple = [m.value for m in found if m.metric.startswith("AUROC")]
        flagged = [m.value for m in found if m.metric.startswith("flagged")]
        assert omniglot >= 0.99
        assert mean >= 0.97
        assert worst >= 0.85
        assert simple >= 0.99
        assert flagged == pytest.approx([1, 5, 10], abs=0.7)


def test_a_sheet_shows_where_the_surprise_of_strange_images_lies(model, tmp_path):
    directory = shutil.copytree(model.directory, tmp_path / model.manifest.name / "1")
    with Image.open(write_sheet(directory, None, seed=0)) as picture:
        red, _, blue = np.asarray(picture.convert("RGB"), np.int64).transpose(2, 0, 1)
    caption, height = 20, (red.shape[0] - 20) // 4
    rows = [(red - blue)[caption + i * height : caption + (i + 1) * height].mean() for i in range(4)]
    assert rows[3] > rows[1] >= 0
    assert max(rows[0], rows[2]) < 1, "the images themselves are grey"
