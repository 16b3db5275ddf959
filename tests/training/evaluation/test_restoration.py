"""The metrics of restorations: a perfect one, and one that does nothing, are measured as what they are."""

from pathlib import Path

import numpy as np
import pytest
import torch

from contract.manifest import Restoration
from training.data.source import keyed
from training.degradation import degraded
from training.evaluate import EvaluationError, ExportedModel
from training.evaluation.restoration import _quality, _without_network, psnr_ssim_mnist, reconstruction_error

EXPORTED = Path(__file__).parents[3] / "exported"


def test_quality_is_psnr_over_all_images_and_ssim():
    x = torch.rand(150, 1, 28, 28, generator=keyed(0)) * 0.5
    error = torch.zeros_like(x)
    error[:75] = 0.2  # half of the images: a mean squared error of 0.02
    psnr, ssim = _quality(x + error, x)
    assert psnr == pytest.approx(-10 * np.log10(0.02), abs=1e-3)
    assert ssim < 0.99
    assert _quality(x, x)[1] == pytest.approx(1)


@pytest.mark.parametrize(
    ("restoration", "at_least"),
    [
        (Restoration(degradation="noise"), 10),
        (Restoration(degradation="mask", fill=-1.0), 8),
        (Restoration(degradation="downscale", factor=2), 25),
        (Restoration(degradation="grey"), 25),
    ],
    ids=lambda value: getattr(value, "degradation", ""),
)
def test_what_needs_no_network_is_an_image_of_the_right_shape(restoration, at_least):
    ramp = torch.linspace(0, 1, 28)
    x = (0.5 * ramp[:, None] + 0.5 * ramp).expand(4, 3, 28, 28)
    given = degraded(x, restoration, (0.1, 0.3), keyed(0))["x"]
    name, without = _without_network(given, restoration, x)
    assert name
    assert without.shape == x.shape
    assert without.min() >= 0
    assert without.max() <= 1
    assert at_least < _quality(without, x)[0]


def shipped(name: str) -> ExportedModel:
    if not (EXPORTED / name / "1" / "manifest.json").is_file():
        pytest.skip(f"{name} is not exported here")
    return ExportedModel.open(EXPORTED / name / "1")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist-restorer", "mnist-upscaler"])
def test_the_shipped_restorations_beat_what_needs_no_network(name, data_root):
    psnr, ssim = psnr_ssim_mnist(shipped(name), data_root, seed=0)
    assert psnr.size == ssim.size == 10_000
    assert psnr.value > float(psnr.note.split(": ")[1].split()[0]) + 3
    assert ssim.value > float(ssim.note.split(": ")[1])


@pytest.mark.slow
def test_the_shipped_autoencoder_beats_as_many_principal_components(data_root):
    (figure,) = reconstruction_error(shipped("mnist-autoencoder"), data_root, seed=0)
    assert figure.value < 0.5 * float(figure.note.split(": ")[1])
    with pytest.raises(EvaluationError, match="measure it by psnr_ssim_mnist"):
        reconstruction_error(shipped("mnist-restorer"), data_root, seed=0)
