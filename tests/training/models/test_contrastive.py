"""Both losses are what their papers say, labels play no part, and the encoder ships without its projector."""

import math

import pytest
import torch
import torch.nn.functional as F

from contract import Capability
from training.data.images import Images, synthetic_images
from training.family import DataSummary, OptimizerConfig
from training.models.contrastive import Contrastive, nt_xent, vicreg

SUMMARY = DataSummary("image", (1, 28, 28))
TINY = Contrastive.Config(widths=(4, 8, 8), features=16, projection=8)


def tiny(**changes) -> Contrastive:
    torch.manual_seed(0)
    return Contrastive(TINY.model_copy(update=changes), SUMMARY)


@pytest.fixture
def batch():
    return Images(*synthetic_images(64, seed=0)).at(torch.arange(64))


def test_nt_xent_is_the_papers_sum_over_pairs():
    a, b = torch.randn(2, 5, 3, dtype=torch.float64)
    z, temperature = torch.cat([a, b]), 0.3
    losses = []
    for i in range(10):
        similar = [math.exp(F.cosine_similarity(z[i], z[k], dim=0) / temperature) if k != i else 0 for k in range(10)]
        losses.append(-math.log(similar[(i + 5) % 10] / sum(similar)))
    assert nt_xent(a, b, temperature).item() == pytest.approx(sum(losses) / 10)
    assert nt_xent(a, b, temperature).item() == pytest.approx(nt_xent(3 * b, a, temperature).item())


def test_vicreg_is_zero_only_for_equal_spread_out_uncorrelated_views():
    points = torch.randn(64, 4, dtype=torch.float64)
    whitened = torch.linalg.qr(points - points.mean(0))[0] * 64**0.5 * 1.01
    assert vicreg(whitened, whitened).item() == pytest.approx(0, abs=1e-2)
    collapsed = torch.ones(64, 4, dtype=torch.float64)
    assert vicreg(collapsed, collapsed).item() == pytest.approx(25 * (1 - 1e-2))
    assert vicreg(whitened, whitened.flip(0)).item() > 1
    correlated = whitened[:, :1].expand(-1, 4)
    assert vicreg(correlated, correlated).item() > 1


@pytest.mark.parametrize("objective", ["simclr", "vicreg"])
def test_each_objective_is_learnt_and_reaches_every_parameter(objective, batch):
    family = tiny(objective=objective)
    optimizers = family.optimizers("model", OptimizerConfig(learning_rate=5e-3))
    losses = []
    for step in range(40):
        loss, _ = family.loss("model", batch, torch.Generator().manual_seed(step))
        loss.backward()
        assert all(p.grad is not None for p in family.parameters())
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


def test_labels_play_no_part(batch):
    losses = [tiny().loss("model", b, torch.Generator().manual_seed(0))[0] for b in (batch, {"x": batch["x"]})]
    assert losses[0].item() == losses[1].item()


def test_what_is_exported_has_no_projector():
    family = tiny().eval()
    (graph,) = family.graphs()
    assert graph.capability is Capability.ENCODE
    assert graph.module(torch.rand(3, 1, 28, 28)).shape == (3, TINY.features)
    assert not {*graph.module.parameters()} & {*family.projector.parameters()}
