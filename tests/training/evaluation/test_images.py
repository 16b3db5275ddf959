"""The judges of images: PSNR by its definition, the classifier on real digits, and both metrics on models that ship."""

from pathlib import Path

import numpy as np
import pytest
import torch

from training.data import Images, images, synthetic_images
from training.evaluate import ExportedModel
from training.evaluation.features import DigitClassifier, digit_classifier, predictions, train_classifier
from training.evaluation.images import label_accuracy, psnr, psnr_set12

EXPORTED = Path(__file__).parents[3] / "exported"


def test_psnr_is_that_of_a_clipped_estimate():
    truth = np.full((4, 4), 1.0)
    assert psnr(truth - 0.1, truth) == pytest.approx(20.0)
    assert psnr(np.where(np.eye(4) == 1, 0.9, 5.0), truth) == pytest.approx(-10 * np.log10(0.01 / 4))


def test_the_classifier_learns_and_is_read_back_from_its_cache(tmp_path):
    source = Images(*synthetic_images(600, seed=0))
    network = train_classifier(source, epochs=6)
    batch = source.at(torch.arange(200))
    assert (predictions(network, batch["x"]) == batch["label"]).float().mean() > 0.9
    torch.save(network.state_dict(), tmp_path / "classifier.pt")
    again = digit_classifier(None, tmp_path / "classifier.pt")
    assert torch.equal(again(batch["x"]), network(batch["x"]))


def test_training_the_classifier_leaves_the_callers_randomness_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    train_classifier(Images(*synthetic_images(10, seed=0)), epochs=0.01)
    assert torch.equal(torch.rand(1), expected)


def test_features_come_before_the_logits():
    network, x = DigitClassifier().eval(), torch.rand(3, 1, 28, 28)
    assert network.features(x).shape == (3, 128)
    torch.testing.assert_close(network.head(network.features(x)), network(x))


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
    assert blind.value >= 28.5
    assert figures["PSNR at sigma 25/255, level given"].value >= blind.value - 0.05


@pytest.mark.slow
def test_the_shipped_generator_draws_what_is_asked_for(data_root, tmp_path):
    model = shipped("mnist-gan")
    judge = train_classifier(Images(*(part[:20_000] for part in images("mnist", "train", data_root))), epochs=1)
    torch.save(judge.state_dict(), tmp_path / "judge.pt")
    (figure,) = label_accuracy(model, data_root, 0, judge=digit_classifier(None, tmp_path / "judge.pt"))
    assert figure.size == 1000
    assert figure.value >= 95
