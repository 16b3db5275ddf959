"""The figures in the manifests of the shipped models: each can be measured again, and clears its bar or is said to miss it."""

import re
from pathlib import Path

import pytest

from contract import Manifest, read_manifest
from tests.bars import BARS, COURSE_MARGIN, MISSED, TEXT_PARAMETERS, Bar
from training.evaluate import DETERMINISTIC
from training.recipe import load_recipe

ROOT = Path(__file__).parents[3]
SHIPPED = {path.parents[1].name: read_manifest(path.parent) for path in ROOT.glob("exported/*/*/manifest.json")}


@pytest.mark.parametrize("bar", BARS, ids=str)
def test_a_bar_is_cleared_unless_it_is_listed_as_missed(bar: Bar) -> None:
    value = bar.figure(SHIPPED[bar.model]).value
    assert bar.is_met(value) == (str(bar) not in MISSED), f"{bar}: {value:.4g}, the bar is {bar.bar:g}"


def test_what_is_listed_as_missed_is_a_bar() -> None:
    assert {str(bar) for bar in BARS} >= MISSED


@pytest.mark.parametrize(
    "manifest", [pytest.param(SHIPPED[name], id=name) for name in ("mnist-diffusion", "mnist-gan")]
)
def test_drawn_digits_are_ten_thousand_with_precision_and_recall_beside_those_of_real_ones(manifest: Manifest) -> None:
    figures = {figure.metric: figure for figure in manifest.evaluation}
    assert figures["FID / floor"].size == 10_000
    for name in ("precision", "recall"):
        assert 0 < figures[name].value <= 1
        assert "10000 real digits of the training set: 0." in figures[name].note


def test_the_text_model_is_as_small_as_its_bar_asks() -> None:
    provenance = SHIPPED["shakespeare-gpt"].provenance
    assert provenance is not None
    assert provenance.parameters <= TEXT_PARAMETERS


def test_language_models_of_given_sizes_are_better_than_the_report() -> None:
    page = (ROOT / "docs" / "language-models.md").read_text("utf-8")
    rows = re.findall(r"^\| \d layers .*?\| [\d,]+ × \d+ × \d+ \| ([\d.]+) \| ([\d.]+) \|", page, re.M)
    assert [report for report, _ in rows] == ["1.8286", "1.5645", "1.4798"]
    assert all(float(ours) <= float(report) - COURSE_MARGIN for report, ours in rows)
    shipped = next(f for f in SHIPPED["shakespeare-gpt"].evaluation if f.metric == "validation loss")
    assert float(rows[-1][1]) == pytest.approx(shipped.value, abs=5e-5)


FIGURES = {
    "accuracy": "accuracy",
    "binary_log_likelihood": "log-likelihood",
    "bits_per_dim": "bits per dimension",
    "classification_accuracy_score": "its gap to real",
    "fid": "FID / floor",
    "fid_in_steps": "FID / floor in 2 steps",
    "flagged_share": "flagged at alpha = 0.05",
    "knn_probe": "3 nearest neighbours",
    "label_accuracy": "requested digit recognised",
    "linear_probe": "linear probe",
    "lines_flagged": "flagged at alpha = 0.01",
    "lines_told": "AUROC",
    "mnist_denoising": "SSIM at sigma 0.3",
    "out_of_distribution": "FPR at 95% TPR",
    "psnr_set12": "SSIM at sigma 25/255, blind",
    "psnr_ssim_mnist": "SSIM",
    "reconstruction_error": "reconstruction error",
    "scored_corruptions": "FPR at 95% TPR, mean of 12 corruptions",
    "scored_flagged_shares": "flagged at alpha = 0.01",
    "scored_omniglot": "AUROC",
    "scored_simple": "AUROC",
    "stacked_modes": "modes covered",
    "table_anomalies": "FPR at 95% TPR",
    "table_log_likelihood": "log-likelihood",
    "text_nats_per_char": "perplexity",
}
"""One that each metric gives; the youngest of them, where it came to give more."""


@pytest.mark.parametrize("name", SHIPPED)
def test_all_that_its_recipe_wants_is_measured(name: str) -> None:
    wanted = {FIGURES[metric] for metric in load_recipe(name).evaluate.metrics}
    assert wanted <= {figure.metric for figure in SHIPPED[name].evaluation}


@pytest.mark.parametrize("manifest", [pytest.param(manifest, id=name) for name, manifest in sorted(SHIPPED.items())])
def test_every_figure_has_a_seed_or_is_deterministic(manifest: Manifest) -> None:
    assert manifest.evaluation
    for figure in manifest.evaluation:
        assert (figure.seed is None) == figure.note.endswith(DETERMINISTIC), figure.metric
