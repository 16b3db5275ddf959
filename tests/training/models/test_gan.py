"""Each of the three games and its penalty are what the papers say and find all modes, and both networks ship."""

import math

import numpy as np
import pytest
import torch

from contract import Capability, read_manifest
from training.data import load
from training.data.images import DIGITS, Images, Stacked, synthetic_images
from training.export import export
from training.family import DataSummary
from training.graphs import open_session, write_graph
from training.layers.fixup_gan import Authenticity, Range
from training.loop import train
from training.models.gan import GAN
from training.recipe import load_recipe

SUMMARY = DataSummary("image", (1, 28, 28), class_names=DIGITS)
TINY = GAN.Config(latent=8, generator_widths=(16, 8, 8), discriminator_widths=(8, 16), features=16, penalty_interval=2)
LOSSES = ["relativistic", "minimax", "wasserstein"]
COLOURS = DataSummary("image", (3, 28, 28))


class Constant(torch.nn.Module):
    def __init__(self, level: float):
        super().__init__()
        self.level = level

    def forward(self, z, label=None):
        return torch.full((len(z), 1, 28, 28), self.level)


def sigmoid(t: float) -> float:
    return 1 / (1 + math.exp(-t))


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


def test_the_games_are_those_of_the_papers(batch):
    class Mean(torch.nn.Module):
        def forward(self, x, label):
            return 4 * x.flatten(1).mean(1)

    family = tiny(penalty_interval=2)
    family.batches += 1  # a batch without penalty
    family.discriminator = Mean()
    family.generator = Constant(0.25)
    real, fake = (4 * batch["x"].flatten(1).mean(1)).tolist(), 1.0

    def softplus(t):
        return math.log(1 + math.exp(t))

    expected = {
        "relativistic": (lambda r: softplus(fake - r), lambda r: softplus(r - fake)),
        "minimax": (lambda r: -math.log(sigmoid(r)) - math.log(1 - sigmoid(fake)), lambda r: -math.log(sigmoid(fake))),
        "wasserstein": (lambda r: fake - r, lambda r: -fake),
    }
    for loss, games in expected.items():
        family.config = family.config.model_copy(update={"loss": loss})
        for player, game in zip(family.players, games, strict=True):
            family.batches.fill_(1)
            value, _ = family.loss(player, batch, torch.Generator())
            assert value.item() == pytest.approx(np.mean([game(r) for r in real]), abs=1e-5), (loss, player)


def bars(count: int, generator: torch.Generator) -> torch.Tensor:
    """8×4 images with one of eight rows bright: (B, 1, 8, 4)."""
    x = torch.zeros(count, 1, 8, 4)
    x[torch.arange(count), 0, torch.randint(8, (count,), generator=generator)] = 0.9
    return (x + 0.05 * torch.randn(x.shape, generator=generator)).clamp(0, 1)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_game_finds_all_eight_modes(loss):
    torch.manual_seed(0)
    sizes = {"generator_widths": (32, 16, 16), "discriminator_widths": (16, 32), "features": 32, "latent": 8}
    family = GAN(GAN.Config(loss=loss, gamma=2, penalty_interval=1, **sizes), DataSummary("image", (1, 8, 4))).train()
    optimizers = {  # the critic faster, in place of Wasserstein's several steps of it for each of the generator
        "discriminator": torch.optim.Adam(family.discriminator.parameters(), 2e-3, betas=(0.0, 0.9)),
        "generator": torch.optim.Adam(family.generator.parameters(), 1e-3, betas=(0.0, 0.9)),
    }
    generator = torch.Generator().manual_seed(0)
    for seed in range(200):
        batch = {"x": bars(32, generator)}
        for player in family.players:
            step(family, player, batch, optimizers[player], seed)
    with torch.no_grad():
        x = family.eval().generator(torch.randn(400, 8, generator=generator))  # (400, 1, 8, 4)
    bar = 0.9 * torch.eye(8)[:, None, :, None]  # (8, 1, 8, 1)
    distance, row = (x[:, None] - bar).square().mean((2, 3, 4)).min(1)
    found = row[distance < 0.02]
    assert len(found) > 100
    assert len(found.unique()) == 8


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


def test_values_outside_of_the_range_learn_to_come_back_and_not_to_leave():
    x = torch.tensor([-2.0, -2.0, 0.5, 0.5, 3.0, 3.0], requires_grad=True)
    clipped = Range.apply(x)
    assert clipped.tolist() == [0, 0, 0.5, 0.5, 1, 1]  # black is black, in training too
    clipped.backward(torch.tensor([1.0, -1.0] * 3))
    assert x.grad.tolist() == [0, -1, 1, -1, 1, 0]


def test_the_authenticity_is_the_mean_over_classes():
    family = tiny().eval()
    x = torch.rand(3, 1, 28, 28)
    of_class = torch.stack([family.discriminator(x, torch.full((3,), k)) for k in range(10)], dim=1)
    expected = of_class.double().exp().mean(1).log()
    assert torch.allclose(Authenticity(family.discriminator)(x).double(), expected, atol=1e-6)


def test_without_classes_there_is_no_label_and_the_authenticity_is_the_critic():
    torch.manual_seed(0)
    family = GAN(TINY, COLOURS).eval()
    decode, density = family.graphs()
    assert list(decode.example) == ["z"]
    assert decode.module(*decode.example.values()).shape == (2, 3, 28, 28)
    x = density.example["x"]
    assert torch.allclose(density.module(x), family.discriminator(x, torch.zeros(2, dtype=torch.long)), atol=1e-6)


@pytest.mark.parametrize("summary", [SUMMARY, COLOURS], ids=["digits", "colours"])
def test_both_graphs_agree_with_torch_and_their_rows_with_any_batch(summary, tmp_path):
    torch.manual_seed(0)
    family = GAN(TINY, summary).eval()
    for parameter in family.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    pixels, labels = synthetic_images(40, seed=1)
    held_out = Images(pixels, labels) if summary is SUMMARY else Stacked(pixels)
    for graph in family.graphs():
        described = write_graph(graph, held_out, tmp_path, (1, 2, 3, 5, 8, 16, 31))
        assert described.parity.max_abs_diff <= graph.tolerance
        assert described.batch_invariance.max_abs_diff == 0
        assert described.density == graph.density


@pytest.mark.parametrize("recipe", ["mnist-gan", "stacked-mnist-gan"])
def test_from_recipe_to_a_model_with_calibrated_authenticity(recipe, tmp_path):
    sizes = {"generator_widths": [16, 8, 8], "discriminator_widths": [8, 16], "features": 16, "latent": 8}
    overrides = [f"--model.{key}={value}" for key, value in sizes.items()]
    data = "synthetic-images" if recipe == "mnist-gan" else "synthetic-colours"
    overrides += [f"--data.dataset={data}", "--data.batch_size=8", "--train.steps=4", "--export.batch_sizes=[1, 3]"]
    recipe = load_recipe(recipe, overrides)
    dataset = load(recipe.data, None)
    trained = train(recipe, dataset, tmp_path / "run", {"accelerator": "cpu"}, progress=False)
    place = export(recipe, trained, dataset, tmp_path / "exported")
    manifest = read_manifest(place)
    assert manifest.capabilities[Capability.LOG_DENSITY].density == "critic"
    scores = np.load(place / manifest.calibration.scores.file)
    x = dataset.calibration.at(torch.arange(len(scores)))["x"]
    found = open_session(place / "log_density.onnx").run(["log_prob"], {"x": x.numpy()})[0]
    assert np.allclose(np.sort(found), scores, atol=1e-5)
    assert manifest.latent.size == 8
