"""Scores of lines: every statistic is what its definition says, at any length, and the graph is what torch computes."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from contract import Capability
from training.data import load
from training.data.lines import split_lines
from training.data.source import DataError
from training.evaluate import ExportedModel, find_metrics
from training.evaluation.lines import STRANGE, normality
from training.evaluation.sheets import write_sheet
from training.export import export
from training.family import DataSummary
from training.loop import train
from training.models.lines import NAMES, RUN, LineScores
from training.recipe import load_recipe

SMALL = {
    "data.dataset": "synthetic-lines",
    "data.batch_size": 16,
    "data.context": 48,
    "model.layers": 1,
    "model.width": 32,
    "model.context": 48,
    "train.steps": 60,
    "train.warmup_steps": 5,
    "train.validate_every": 60,
    "train.precision": "32-true",
    "export.batch_sizes": [1, 2, 5, 16],
}
LONG = 48


@pytest.fixture(scope="module")
def recipe():
    return load_recipe("shakespeare-lines", [f"--{key}={value}" for key, value in SMALL.items()])


@pytest.fixture(scope="module")
def dataset(recipe):
    return load(recipe.data, None)


@pytest.fixture(scope="module")
def trained(recipe, dataset, tmp_path_factory):
    return train(recipe, dataset, tmp_path_factory.mktemp("run"), progress=False)


@pytest.fixture(scope="module")
def model(recipe, trained, dataset, tmp_path_factory) -> ExportedModel:
    return ExportedModel.open(export(recipe, trained, dataset, tmp_path_factory.mktemp("exported")))


@pytest.fixture(scope="module")
def test_lines() -> list[str]:
    return split_lines("synthetic-lines", None, None)[1]


def by_hand(family: LineScores, row: torch.Tensor) -> dict[str, float]:
    """One row of tokens, one token after the other."""
    found, expected, spread = [], 0.0, 0.0
    for at in range(1, len(row)):
        log_probs = family.scores.gpt(row[None, :at])[0, -1].double().log_softmax(0)
        mean = float((log_probs.exp() * log_probs).sum())
        expected += mean
        spread += float((log_probs.exp() * (log_probs - mean) ** 2).sum())
        found.append(float(log_probs[row[at]]))
    standardised = (sum(found) - expected) / spread**0.5
    return {
        "log_prob": sum(found),
        "per_token": sum(found) / len(found),
        "standardised": standardised,
        "typicality": -abs(standardised),
        "rarest_token": min(found),
        "rarest_run": min(sum(found[max(0, end - RUN) : end]) / RUN for end in range(1, len(found) + 1)),
    }


@torch.no_grad()
def test_statistics_are_those_of_the_tokens_one_by_one_whatever_is_behind_them(trained, dataset):
    family = trained.family.eval()
    batch = dataset.calibration.at(torch.arange(6))
    normal, surprise = family.scores(batch["input_ids"], batch["lengths"])
    for i, length in enumerate(batch["lengths"].tolist()):
        expected = by_hand(family, batch["input_ids"][i, :length])
        found = dict(zip(NAMES, normal[i].tolist(), strict=True))
        for name, value in expected.items():
            assert found[name] == pytest.approx(value, abs=2e-3), name
        assert float(surprise[i].sum()) == pytest.approx(-expected["log_prob"], abs=1e-3)
        assert not surprise[i, length:].any()


def test_the_manifest_says_what_decides_and_that_a_line_ends(model):
    scoring, graph = model.manifest.scoring, model.manifest.capabilities[Capability.SCORE]
    assert scoring.statistics == NAMES
    assert "lines made of them" in scoring.chosen_by
    assert graph.batch_invariance.max_abs_diff == 0
    assert model.manifest.text.end_token == model.manifest.text.start_token
    assert model.manifest.calibration.statistic == "normality"


def test_strange_lines_are_told_and_normal_ones_are_flagged_as_rarely_as_promised(model):
    told, flagged = find_metrics(("lines_told", "lines_flagged"))
    figures = {(figure.data, figure.metric): figure for figure in told(model, None, 0)}
    assert len(figures) == 3 * len(STRANGE)
    for (data, metric), figure in figures.items():
        assert figure.value < 50 if metric == "FPR at 95% TPR" else figure.value > 0.8, (data, metric)
        assert "strange lines are the positives" in figure.note
    for figure, alpha in zip(flagged(model, None, 0), (1, 5, 10), strict=True):
        assert figure.value <= alpha + 4 * 100 * (alpha / 100 * (1 - alpha / 100) * (1 / 60 + 1 / 54)) ** 0.5


def test_a_line_of_any_length_and_any_characters_has_a_score(model, test_lines):
    lines = [test_lines[0], "é" * 3, "x", test_lines[0] * 20]
    together = normality(model, lines)
    assert np.isfinite(together).all()
    assert (together[NAMES.index("combined"), 1:] < together[NAMES.index("combined"), 0]).all()
    for i, line in enumerate(lines):
        assert normality(model, [line])[:, 0].tolist() == together[:, i].tolist()


def test_lines_of_a_file_of_ones_own(recipe, tmp_path: Path):
    lines = [f"ready after {i} ms, {'long ' * 30 * (i == 150)}" for i in range(200)]
    (tmp_path / "plant.log").write_text("\n\n".join(lines))
    config = recipe.data.model_copy(update={"dataset": "lines", "path": str(tmp_path / "plant.log")})
    dataset = load(config, None)
    assert dataset.name == "plant.log"
    assert len(dataset.train) + len(dataset.validation) + len(dataset.calibration) == 180
    assert max(int(dataset.train.at(torch.arange(len(dataset.train)))["lengths"].max()), 0) <= LONG + 1
    ordered = split_lines("lines", str(tmp_path / "plant.log"), None, shuffled=False)
    assert [*ordered[0], *ordered[1]] == lines
    (tmp_path / "short.log").write_text("one\ntwo\n")
    with pytest.raises(DataError, match="expected 100 lines at least, found 2"):
        split_lines("lines", str(tmp_path / "short.log"), None)
    with pytest.raises(DataError, match=r"data\.path: expected a file of normal lines"):
        split_lines("lines", None, None)


def test_vectors_are_refused():
    with pytest.raises(ValueError, match="expected lines of text, found vectors"):
        LineScores(LineScores.Config(), DataSummary("vector", (3,)))


def test_a_sheet_shows_where_the_surprise_lies(model, tmp_path):
    directory = shutil.copytree(model.directory, tmp_path / model.manifest.name / "1")
    with Image.open(write_sheet(directory, None, seed=0)) as picture:
        assert picture.width == 600
        red, _, blue = np.asarray(picture.convert("RGB"), np.int64).transpose(2, 0, 1)
        spoilt = red.shape[0] // 2
        assert (red - blue)[spoilt:].mean() > 1.5 * (red - blue)[:spoilt].mean()
