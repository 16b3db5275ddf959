"""PSNR by its definition, the linear filter that it is compared with, and the denoiser that ships."""

from pathlib import Path

import numpy as np
import pytest

from tests.bars import bar
from training.evaluate import ExportedModel
from training.evaluation.images import psnr, psnr_set12, ssim, wiener

EXPORTED = Path(__file__).parents[3] / "exported"


def test_psnr_is_that_of_a_clipped_estimate():
    truth = np.full((4, 4), 1.0)
    assert psnr(truth - 0.1, truth) == pytest.approx(20.0)
    assert psnr(np.where(np.eye(4) == 1, 0.9, 5.0), truth) == pytest.approx(-10 * np.log10(0.01 / 4))


def test_ssim_is_that_of_clipped_estimates():
    truth = np.random.default_rng(0).random((150, 1, 28, 28), np.float32)  # more than a batch
    assert ssim(truth, truth) == pytest.approx(1)
    white = np.ones_like(truth)
    assert ssim(white + 5, white) == pytest.approx(1)
    noisy = [
        ssim(truth + sigma * np.random.default_rng(1).standard_normal(truth.shape, np.float32), truth)
        for sigma in (0.1, 0.5)
    ]
    assert 0 < noisy[1] < noisy[0] < 1


def test_the_wiener_filter_is_the_best_linear_estimate():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20_000, 2)) * [2.0, 0.5] + 3
    noisy = x + rng.standard_normal(x.shape)
    estimate = wiener(noisy, 1.0, x.mean(0), np.cov(x, rowvar=False))
    np.testing.assert_allclose(estimate - 3, (noisy - 3) * [4 / 5, 0.25 / 1.25], atol=0.05)
    np.testing.assert_allclose(np.square(estimate - x).mean(0), [4 / 5, 0.25 / 1.25], rtol=0.05)


def shipped(name: str) -> ExportedModel:
    directory = EXPORTED / name / "1"
    if not (directory / "manifest.json").is_file():
        pytest.skip(f"{name} is not exported here")
    return ExportedModel.open(directory)


@pytest.mark.slow
def test_the_shipped_denoiser_clears_its_bar(data_root):
    figures = {figure.metric: figure for figure in psnr_set12(shipped("photo-denoiser"), data_root, seed=0)}
    blind = figures["PSNR at sigma 25/255, blind"]
    assert blind.size == 12
    assert blind.value >= bar("photo-denoiser", blind.metric)
    assert figures["PSNR at sigma 25/255, level given"].value >= blind.value - 0.05
