"""The denoiser takes any size, knows what its level means, learns, and leaves through the parity gate."""

import numpy as np
import pytest
import torch

from contract import SIGNATURES, Capability
from training.data.images import Images, synthetic_images
from training.family import DataSummary
from training.graphs import open_session, write_graph
from training.models.denoiser import Denoiser, Reconstruct

TINY = Denoiser.Config(widths=(8, 16), blocks=1, middle_blocks=1)


def tiny(**changes) -> Denoiser:
    """A network whose every layer does something: at the start of training most are the identity."""
    torch.manual_seed(0)
    family = Denoiser(TINY.model_copy(update=changes), DataSummary("image", (1, None, None)))
    for parameter in family.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return family.eval()


@pytest.mark.parametrize("size", [(1, 1), (3, 17), (28, 28), (33, 64)])
def test_any_size_comes_back_as_it_went_in(size):
    x_hat = Reconstruct(tiny().network)(torch.rand(2, 1, *size), torch.tensor([-1.0, 0.1]))
    assert x_hat.shape == (2, 1, *size)
    assert x_hat.min() >= 0
    assert x_hat.max() <= 1


def test_nothing_is_removed_at_a_level_known_to_be_zero():
    x = torch.rand(2, 1, 20, 20)
    assert torch.equal(Reconstruct(tiny().network)(x, torch.zeros(2)), x)


def test_every_negative_level_means_unknown_and_a_positive_one_matters():
    graph, x = Reconstruct(tiny().network), torch.rand(1, 1, 20, 20)
    unknown = graph(x, torch.tensor([-1.0]))
    assert torch.equal(unknown, graph(x, torch.tensor([-0.01])))
    assert not torch.allclose(unknown, graph(x, torch.tensor([0.2])))


@torch.no_grad()
def test_the_noise_estimate_is_homogeneous():
    """r(a y, a level) = a r(y, level): brighter noise is the same problem."""
    network, y, level = tiny().network, torch.randn(2, 1, 16, 16), torch.tensor([0.0, 0.1])
    torch.testing.assert_close(network(3 * y, 3 * level), 3 * network(y, level), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("objective", ["psnr", "l1", "l2"])
def test_each_objective_falls_in_a_few_steps(objective):
    torch.manual_seed(0)
    family = Denoiser(TINY.model_copy(update={"objective": objective}), DataSummary("image", (1, None, None)))
    batch = Images(*synthetic_images(16, seed=0)).at(torch.arange(16))
    optimizer = torch.optim.Adam(family.parameters(), 5e-3)
    losses = []
    for _ in range(30):
        loss, _ = family.loss("model", batch, torch.Generator().manual_seed(0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(parameter.grad is not None for parameter in family.parameters())
    assert losses[-1] < losses[0] - 0.05 * abs(losses[0])


def test_validation_is_the_same_twice_and_worse_with_more_noise():
    family, batch = tiny(), {"x": torch.rand(4, 1, 30, 30)}
    first, second = (family.validation(batch, torch.Generator().manual_seed(1)) for _ in range(2))
    assert first == second
    assert set(first) == {"loss", "psnr_15", "psnr_25", "psnr_50"}


def test_the_graph_passes_the_parity_gate_and_takes_any_size(tmp_path):
    (export,) = tiny().graphs()
    described = write_graph(export, Images(*synthetic_images(12, seed=1)), tmp_path, (1, 2, 5))
    assert described.parity.max_abs_diff <= export.tolerance
    assert [port.name for port in SIGNATURES[Capability.RECONSTRUCT].inputs] == [t.name for t in described.inputs]
    session, x = open_session(tmp_path / described.file), torch.rand(1, 1, 37, 50)
    (x_hat,) = session.run(["x_hat"], {"x": x.numpy(), "sigma": np.full(1, -1, np.float32)})
    expected = export.module(x, torch.tensor([-1.0])).detach().numpy()
    np.testing.assert_allclose(x_hat, expected, atol=1e-5)
