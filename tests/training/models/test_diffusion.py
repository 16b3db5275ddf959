"""The preconditioning's identities, the loss against a closed form, the null class, and the graph."""

import pytest
import torch
from torch import nn

from contract import Capability, read_manifest
from training.data import load
from training.data.images import DIGITS, Images, synthetic_images
from training.export import export
from training.family import DataSummary, OptimizerConfig
from training.graphs import write_graph
from training.layers.denoise_step import noise_levels
from training.loop import train
from training.models.diffusion import Diffusion
from training.recipe import load_recipe

SUMMARY = DataSummary("image", (1, 28, 28), class_names=DIGITS)
TINY = Diffusion.Config(widths=(16, 32), blocks=1, embedding=16)


def tiny(summary: DataSummary = SUMMARY, **changes) -> Diffusion:
    torch.manual_seed(0)
    return Diffusion(TINY.model_copy(update=changes), summary)


def awake(**changes) -> Diffusion:
    """Every weight random, so that no branch of the network is silent."""
    family = tiny(**changes)
    for parameter in family.parameters():
        nn.init.normal_(parameter, std=0.1)
    return family.eval()


@pytest.fixture(scope="module")
def images():
    return Images(*synthetic_images(64, seed=0))


@torch.no_grad()
def test_the_denoiser_is_the_identity_as_sigma_goes_to_zero(images):
    family, x = awake(), images.at(torch.arange(4))["x"]
    errors = [
        (family.denoise(x, torch.full((4,), sigma), torch.arange(4)) - x).abs().max().item()
        for sigma in (1e-1, 1e-3, 1e-5)
    ]
    assert errors[0] > 100 * errors[1] > 0
    assert errors[2] < 1e-4


def test_preconditioning_gives_unit_variance_to_input_and_target(images):
    """c_in^2 var(x) = 1, and the variance of F's target (y - mu - c_skip (x - mu)) / c_out is 1."""
    family = tiny()
    family.prepare(images)
    y = images.at(torch.arange(64))["x"]
    assert family.denoise.sigma_data == pytest.approx(y.std().item(), rel=1e-3)
    y = (y - family.denoise.mean).repeat(20, 1, 1, 1)
    for level in (0.05, 0.3, 5.0):
        x = y + level * torch.randn(y.shape)
        c_skip, c_out, c_in = family.denoise.coefficients(torch.tensor([level]))
        assert (c_in * x).std().item() == pytest.approx(1, rel=0.01)
        assert ((y - c_skip * x) / c_out).std().item() == pytest.approx(1, rel=0.01)


@torch.no_grad()
def test_a_silent_network_is_the_best_linear_denoiser_and_costs_one(images):
    """With F = 0, D is the posterior mean of white Gaussian data, whose weighted loss is exactly 1 at every level."""
    family = tiny()
    family.denoise.mean.fill_(0.4)
    family.denoise.sigma_data.fill_(0.3)
    y = 0.4 + 0.3 * torch.randn(2000, 1, 8, 8)
    sigma = torch.full((2000,), 0.3)
    x = y + 0.3 * torch.randn(y.shape)
    torch.testing.assert_close(family.denoise(x, sigma), 0.4 + (x - 0.4) / 2)
    loss, _ = family.loss("model", {"x": y, "label": torch.zeros(2000).long()}, torch.Generator().manual_seed(0))
    assert loss.item() == pytest.approx(1, rel=0.02)


def test_correlated_gaussian_data_are_denoised_better_than_pixel_by_pixel():
    """Images of one random grey: the optimum is near 0, the pixelwise predictor costs 1, and few steps are in between."""
    family = tiny(summary=DataSummary("image", (1, 8, 8)))
    family.denoise.mean.fill_(0.5)
    family.denoise.sigma_data.fill_(0.3)
    generator = torch.Generator().manual_seed(0)
    optimizers = family.optimizers("model", OptimizerConfig(learning_rate=3e-3, muon_learning_rate=1e-2))
    for _ in range(60):
        y = (0.5 + 0.3 * torch.randn(32, 1, 1, 1, generator=generator)).expand(32, 1, 8, 8)
        loss, _ = family.loss("model", {"x": y}, generator)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    assert loss.item() < 0.5


def test_levels_are_log_normal_one_in_each_stratum():
    sigma = noise_levels(1000, -0.6, 1.2, torch.Generator().manual_seed(0), torch.device("cpu"))
    log = sigma.log()
    assert log.mean().item() == pytest.approx(-0.6, abs=0.01)
    assert log.std().item() == pytest.approx(1.2, abs=0.02)
    assert torch.equal(sigma, sigma.sort().values)


@torch.no_grad()
def test_no_label_is_the_null_class_and_a_class_is_not():
    denoise, x, sigma = awake().denoise, torch.rand(2, 1, 28, 28), torch.tensor([0.5, 2.0])
    unknown = denoise(x, sigma)
    assert torch.equal(unknown, denoise(x, sigma, torch.tensor([10, 10])))
    assert not torch.allclose(unknown, denoise(x, sigma, torch.tensor([3, 3])))


@pytest.mark.parametrize(("dropout", "used"), [(1.0, [10]), (0.0, list(range(10)))])
def test_label_dropout_trains_the_null_class(images, dropout, used):
    family = awake(label_dropout=dropout)
    loss, _ = family.loss("model", images.at(torch.arange(32)), torch.Generator().manual_seed(0))
    loss.backward()
    gradients = family.denoise.network.label.weight.grad.abs().sum(1)
    assert gradients.nonzero().flatten().tolist() == used


def test_every_parameter_has_one_optimizer_and_learns(images):
    family = awake()
    optimizers = family.optimizers("model", OptimizerConfig())
    owned = [id(p) for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
    assert len(owned) == len(set(owned)) == len(list(family.parameters()))
    loss, _ = family.loss("model", images.at(torch.arange(32)), torch.Generator().manual_seed(0))
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in family.parameters())
    assert len(family.optimizers("model", OptimizerConfig(muon_learning_rate=0))) == 1


def test_sides_that_the_network_cannot_halve_are_refused():
    with pytest.raises(ValueError, match=r"multiples of 4, found \(1, 30, 30\)"):
        tiny(summary=DataSummary("image", (1, 30, 30)))
    with pytest.raises(ValueError, match=r"found \(1, None, None\)"):
        tiny(summary=DataSummary("image", (1, None, None)))


def test_without_classes_the_graph_takes_no_label(tmp_path, images):
    family = awake(summary=DataSummary("image", (1, 28, 28)))
    (graph,) = family.graphs()
    described = write_graph(graph, images, tmp_path, (1, 3))
    assert described.parity.max_abs_diff <= graph.tolerance
    assert [t.name for t in described.inputs] == ["x_t", "sigma"]


def test_a_recipe_is_trained_and_exported(tmp_path):
    overrides = [
        "--data.dataset=synthetic-images",
        "--data.batch_size=8",
        "--model.widths=[16, 32]",
        "--model.blocks=1",
    ]
    overrides += ["--train.steps=3", "--train.precision=32-true", "--export.batch_sizes=[1, 2, 5, 16]"]
    recipe = load_recipe(
        "mnist-diffusion", [*overrides, "--train.validate_every=3", "--train.checkpoint_every_steps=3"]
    )
    dataset = load(recipe.data, None)
    trained = train(recipe, dataset, tmp_path / "run", {"accelerator": "cpu", "devices": 1}, progress=False)
    assert trained.family.denoise.sigma_data != 0.5
    manifest = read_manifest(export(recipe, trained, dataset, tmp_path))
    graph = manifest.capabilities[Capability.DENOISE_STEP]
    assert graph.batch_invariance.max_abs_diff == 0
    assert [t.name for t in graph.inputs] == ["x_t", "sigma", "label"]
    assert manifest.sigma_range == (0.01, 20)
    assert manifest.sampling.samplers[0] == "dpmpp_2m"
    assert manifest.sampling.guidance == 1
