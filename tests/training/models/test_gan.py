"""Both players of each of the three games learn, the penalties are what the papers say, and the generator ships."""

import pytest
import torch

from training.data import DIGITS, Images, synthetic_images
from training.family import DataSummary
from training.graphs import write_graph
from training.models.gan import GAN

SUMMARY = DataSummary("image", (1, 28, 28), class_names=DIGITS)
TINY = GAN.Config(latent=8, generator_widths=(16, 8, 8), discriminator_widths=(8, 16), features=16, penalty_interval=2)
LOSSES = ["relativistic", "minimax", "wasserstein"]


def tiny(**changes) -> GAN:
    torch.manual_seed(0)
    return GAN(TINY.model_copy(update=changes), SUMMARY)


@pytest.fixture(scope="module")
def batch():
    return Images(*synthetic_images(32, seed=0)).at(torch.arange(32))


def step(family: GAN, player: str, batch, optimizer=None, seed: int = 0) -> float:
    family.requires_grad_(False)
    for parameter in family.parameters_of(player):
        parameter.requires_grad_(True)
    loss, _ = family.loss(player, batch, torch.Generator().manual_seed(seed))
    family.zero_grad()
    loss.backward()
    if optimizer is not None:
        optimizer.step()
    return loss.item()


def test_the_players_share_nothing_and_own_everything():
    family = tiny()
    owned = [id(p) for player in family.players for p in family.parameters_of(player)]
    assert len(owned) == len(set(owned)) == len(list(family.parameters()))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("player", GAN.players)
def test_each_player_gains_against_a_still_opponent(loss, player, batch):
    family = tiny(loss=loss, gamma=0.1, penalty_interval=1)
    optimizer = torch.optim.Adam(family.parameters_of(player), 2e-3, betas=(0.0, 0.99))
    losses = [step(family, player, batch, optimizer) for _ in range(25)]
    assert losses[-1] < losses[0]
    other = family.players[1 - family.players.index(player)]
    assert all(p.grad is None for p in family.parameters_of(other))
    assert all(p.grad is not None for p in family.parameters_of(player))


def test_the_penalty_is_worked_out_on_every_second_batch(batch):
    family = tiny()
    logged = [family.loss("discriminator", batch, torch.Generator())[1] for _ in range(4)]
    assert ["penalty" in logs for logs in logged] == [True, False, True, False]


def test_r1_and_r2_are_the_squared_slope_of_a_linear_critic(batch):
    class Linear(torch.nn.Module):
        def forward(self, x, label):
            return 3 * x.flatten(1).sum(1)

    family = tiny(penalty_interval=1)
    family.discriminator = Linear()
    slope = 9 * 28 * 28
    for loss, expected in (("relativistic", 2 * slope), ("minimax", slope), ("wasserstein", (slope**0.5 - 1) ** 2)):
        family.config = family.config.model_copy(update={"loss": loss})
        _, logs = family.loss("discriminator", batch, torch.Generator())
        assert logs["penalty"].item() == pytest.approx(expected, rel=1e-4)


def test_a_label_and_a_latent_each_change_the_image():
    generator = tiny().eval().generator
    z = torch.randn(2, 8)
    x = generator(z[[0, 0, 1]], torch.tensor([3, 4, 3]))
    assert x.shape == (3, 1, 28, 28)
    assert x.min() >= 0
    assert x.max() <= 1
    assert not torch.allclose(x[0], x[1])
    assert not torch.allclose(x[0], x[2])


def test_sides_that_cannot_be_halved_twice_are_refused():
    with pytest.raises(ValueError, match=r"multiples of 4, found \(1, 30, 30\)"):
        GAN(TINY, DataSummary("image", (1, 30, 30), class_names=DIGITS))


def test_the_generator_passes_the_parity_gate(tmp_path):
    family = tiny().eval()
    (export,) = family.graphs()
    described = write_graph(export, Images(*synthetic_images(12, seed=1)), tmp_path, (1, 2, 5))
    assert described.parity.max_abs_diff <= export.tolerance
    assert [t.name for t in described.inputs] == ["z", "label"]
    assert family.manifest_parts()["latent"] == {"size": 8, "prior": "normal"}
