import pytest
import torch

from training.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(32, 288), (288, 32), (32, 64), (1, 9)])
@pytest.mark.parametrize("autocast", [False, True])
def test_singular_values_come_near_one(shape, autocast):
    """Of ordinary matrices; also in bfloat16, in which autocast computes the products."""
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = orthogonal(matrix)
    values = torch.linalg.svdvals(found.float())
    assert found.shape == matrix.shape
    assert 0.5 < values.min() <= values.max() < 1.3


def test_an_update_has_the_size_of_one_of_adamw():
    """A root mean square of 0.2 times the rate (Liu et al. 2025, section 2.2), in float32 under autocast too."""
    kernel = torch.nn.Parameter(torch.zeros(32, 16, 3, 3))
    kernel.grad = torch.randn(kernel.shape, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        Muon([kernel], lr=1e-2).step()
    assert kernel.dtype == torch.float32
    assert kernel.square().mean().sqrt().item() == pytest.approx(0.2e-2, rel=0.2)


def test_weights_decay_by_the_rate():
    kernel = torch.nn.Parameter(torch.ones(4, 4))
    kernel.grad = torch.zeros(4, 4)
    Muon([kernel], lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(kernel.detach(), torch.full((4, 4), 0.95))
