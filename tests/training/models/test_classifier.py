"""The feature network learns classes, and gives features before logits."""

import pytest
import torch

from training.data.images import DIGITS, Images, synthetic_images
from training.family import DataSummary, OptimizerConfig
from training.models.classifier import Classifier

SUMMARY = DataSummary("image", (1, 28, 28), class_names=DIGITS)
TINY = Classifier.Config(widths=(4, 8, 8), features=16)


def tiny() -> Classifier:
    torch.manual_seed(0)
    return Classifier(TINY, SUMMARY)


def test_it_learns_to_tell_classes_apart():
    family, batch = tiny(), Images(*synthetic_images(100, seed=0)).at(torch.arange(100))
    optimizers = family.optimizers("model", OptimizerConfig(learning_rate=1e-2))
    before = family.eval().validation(batch, torch.Generator())
    for step in range(40):
        loss, _ = family.train().loss("model", batch, torch.Generator().manual_seed(step))
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    after = family.eval().validation(batch, torch.Generator())
    assert after["loss"] < before["loss"] / 2
    assert after["accuracy"] > 0.9


def test_every_parameter_is_trained_by_one_optimiser_and_has_a_gradient():
    family, batch = tiny(), Images(*synthetic_images(8, seed=0)).at(torch.arange(8))
    owned = [p for o in family.optimizers("model", OptimizerConfig()) for g in o.param_groups for p in g["params"]]
    assert sorted(map(id, owned)) == sorted(map(id, family.parameters()))
    family.loss("model", batch, torch.Generator())[0].backward()
    assert all(p.grad is not None for p in family.parameters())


def test_logits_are_a_linear_map_of_the_embedding():
    network = tiny().eval().network
    embedding, logits = network(torch.rand(3, 1, 28, 28))
    assert embedding.shape == (3, 16)
    assert embedding.min() >= 0
    torch.testing.assert_close(network.head(embedding), logits)


def test_data_that_cannot_be_classified_is_refused():
    with pytest.raises(ValueError, match="expected the classes"):
        Classifier(TINY, DataSummary("image", (1, 28, 28)))
    with pytest.raises(ValueError, match=r"sides of 8 or more, found \(1, None, None\)"):
        Classifier(TINY, DataSummary("image", (1, None, None), class_names=DIGITS))
