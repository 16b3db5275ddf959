"""On machines small enough to enumerate: free energy, partition function and samples are what the sums say."""

import itertools
import json
import math

import numpy as np
import pytest
import torch

from contract import Capability, read_manifest
from training.data import load
from training.data.images import Images, synthetic_images
from training.export import export
from training.family import DataSummary, OptimizerConfig
from training.graphs import open_session
from training.layers.boltzmann import GRID, Machine, annealed_importance
from training.loop import train
from training.models.rbm import RBM, Gibbs
from training.recipe import load_recipe

SIDE, HIDDEN = (3, 4), 5
VISIBLE = math.prod(SIDE)


def every(units: int) -> torch.Tensor:
    """All binary vectors, (2^units, units)."""
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=units)))


@pytest.fixture
def machine() -> Machine:
    generator = torch.Generator().manual_seed(0)
    return Machine(*(torch.randn(s, generator=generator) for s in ((VISIBLE, HIDDEN), (VISIBLE,), (HIDDEN,)))).rounded()


@pytest.fixture
def log_p(machine) -> torch.Tensor:
    """Of every visible vector, from the sum over all states of all units; (2^V,)."""
    v, h = every(VISIBLE).double(), every(HIDDEN).double()
    weight, b, c = (t.double() for t in machine)
    return (v @ weight @ h.T + (v @ b)[:, None] + h @ c).logsumexp(1).log_softmax(0)


def log_partition(machine: Machine) -> float:
    return (-machine.free_energy(every(VISIBLE)).double()).logsumexp(0).item()


def test_the_free_energy_sums_over_the_hidden_units(machine, log_p):
    expected = log_p + log_partition(machine)
    assert (-machine.free_energy(every(VISIBLE)) - expected).abs().max() < 1e-4


def test_a_grey_image_scores_no_higher_than_its_binary_draws(machine):
    grey = torch.rand(20, VISIBLE, generator=torch.Generator().manual_seed(1))
    v = every(VISIBLE)
    weights = (v[None] * grey[:, None] + (1 - v[None]) * (1 - grey[:, None])).prod(2)  # (20, 2^V)
    assert (-machine.free_energy(grey) <= weights @ -machine.free_energy(v) + 1e-5).all()


@pytest.mark.parametrize("odds", [-1.0, 0.0])
def test_annealed_importance_sampling_finds_the_partition_function(machine, odds):
    base = torch.full((VISIBLE,), odds)
    log_weight, ends = annealed_importance(machine, base, 500, 300, torch.Generator().manual_seed(0))
    estimate = (log_weight.logsumexp(0) - math.log(500)).item()
    assert estimate == pytest.approx(log_partition(machine), abs=0.05)
    assert ends.shape == (500, VISIBLE)


def test_without_weights_the_partition_function_is_exact_at_once():
    base = torch.linspace(-2, 2, VISIBLE)
    factorial = Machine(torch.zeros(VISIBLE, HIDDEN), base, torch.zeros(HIDDEN))
    log_weight, _ = annealed_importance(factorial, base, 3, 1, torch.Generator().manual_seed(0))
    assert log_weight.tolist() == pytest.approx([log_partition(factorial)] * 3, abs=1e-4)


def test_samples_have_the_machines_marginals_and_correlations(machine, log_p):
    v, p = every(VISIBLE), log_p.exp().float()
    gibbs = Gibbs(machine, torch.zeros(1, VISIBLE, dtype=torch.uint8), 40, SIDE)  # from one particle, forgotten by then
    z = torch.randn(20_000, sum(gibbs.sizes), generator=torch.Generator().manual_seed(0))
    mean = gibbs(z).flatten(1)  # of v given h
    assert mean.shape == (20_000, VISIBLE)
    assert (mean.mean(0) - p @ v).abs().max() < 0.02
    exact = v.T @ (p[:, None] * v)  # E[v v'], off the diagonal E[E[v|h] E[v|h]']
    found = mean.T @ mean / len(mean)
    off = ~torch.eye(VISIBLE, dtype=torch.bool)
    assert (found - exact)[off].abs().max() < 0.02


def test_the_first_number_chooses_the_particle():
    stiff = Machine(torch.diag(torch.full((4,), 200.0)), torch.full((4,), -100.0), torch.full((4,), -100.0))
    gibbs = Gibbs(stiff, torch.eye(4, dtype=torch.uint8), 3, (2, 2))
    z = torch.zeros(4, sum(gibbs.sizes))
    z[:, 0] = torch.tensor([-9.0, -0.5, 0.5, 9.0])
    assert torch.equal(gibbs(z).flatten(1).round(), torch.eye(4))


def tiny() -> RBM:
    torch.manual_seed(0)
    config = RBM.Config(hidden=8, particles=64, annealing_chains=64, annealing_steps=50, gibbs_steps=2)
    return RBM(config, DataSummary("image", (1, *SIDE)))


class Stripes:
    """Binary images of which two kinds exist, in 16 copies each."""

    def __len__(self):
        return 32

    def at(self, indices, generator=None):
        x = torch.zeros(len(indices), 1, *SIDE)
        x[indices % 2 == 0, :, :, ::2] = 1
        x[indices % 2 == 1, :, :, 1::2] = 1
        return {"x": x}


def test_training_raises_the_likelihood_by_its_exact_gradient():
    """The loss's gradient, with every state as a particle by its probability, is that of -log p."""
    family = tiny()
    family.prepare(Stripes())
    family.weight.data.normal_(std=0.5)
    x = Stripes().at(torch.arange(32))["x"].flatten(1)

    def log_likelihood() -> torch.Tensor:
        machine = family.machine()
        return -machine.free_energy(x).mean() - (-machine.free_energy(every(VISIBLE))).logsumexp(0)

    (expected,) = torch.autograd.grad(-log_likelihood(), family.weight)
    p = (-family.machine().free_energy(every(VISIBLE))).softmax(0)
    family.particles = every(VISIBLE)[torch.multinomial(p, 50_000, replacement=True)]
    loss, _ = family.loss("model", {"x": x}, torch.Generator().manual_seed(0))
    (found,) = torch.autograd.grad(loss, family.weight)
    assert (found - expected).abs().max() < 0.02
    assert expected.abs().max() > 0.1

    family.particles = family.particles[:64].clone()
    (optimizer,) = family.optimizers("model", OptimizerConfig(learning_rate=0.1))
    before = log_likelihood().item()
    for step in range(300):
        loss, _ = family.loss("model", {"x": x}, torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(parameter.grad.abs().sum() > 0 for parameter in family.parameters())
    assert log_likelihood().item() > max(before + 4, -2.0)  # two images take log 2 = 0.7 nats


def test_exported_weights_lie_on_a_grid():
    machine = tiny().machine().rounded()
    assert all(torch.equal(t / GRID, (t / GRID).round()) for t in machine)
    x = (torch.rand(64, VISIBLE) > 0.5).float()
    assert torch.equal(machine.hidden_logits(x).double(), x.double() @ machine.weight.double() + machine.c.double())


def test_tables_are_refused():
    with pytest.raises(ValueError, match=r"data\.shape: expected images of one size, found vector \[16\]"):
        RBM(RBM.Config(), DataSummary("vector", (16,)))


def test_from_a_recipe_to_a_model_that_scores_and_draws(tmp_path):
    changes = {"data.dataset": "synthetic-images", "model.hidden": 16, "model.particles": 16, "train.steps": 4}
    changes |= {"model.annealing_chains": 8, "model.annealing_steps": 20, "train.validate_every": 4}
    changes |= {"export.batch_sizes": [1, 2, 5, 8], "train.precision": "32-true"}
    recipe = load_recipe("mnist-rbm", [f"--{key}={json.dumps(value)}" for key, value in changes.items()])
    data = load(recipe.data, None)
    trained = train(recipe, data, tmp_path / "run", {"accelerator": "cpu", "devices": 1}, progress=False)
    place = export(recipe, trained, data, tmp_path / "exported")
    manifest = read_manifest(place)
    graphs = manifest.capabilities
    assert graphs[Capability.LOG_DENSITY].density == "energy"
    assert manifest.latent.size == 1 + 5 * 16 + 4 * 784
    assert set(manifest.provenance.hyper_parameters["fitted"]) >= {"log_partition", "log_partition_standard_error"}
    for graph in graphs.values():
        assert graph.parity.max_abs_diff <= graph.parity.tolerance
        assert graph.batch_invariance.max_abs_diff == 0
    assert 1 in graphs[Capability.DECODE].batch_invariance.batch_sizes  # sums are exact: alone as in a crowd
    x = Images(*synthetic_images(4, seed=0)).at(torch.arange(4))["x"]
    (log_prob,) = open_session(place / graphs[Capability.LOG_DENSITY].file).run(["log_prob"], {"x": x.numpy()})
    energy = -trained.family.machine().rounded().free_energy(x.flatten(1)) - trained.family.log_partition
    assert np.abs(log_prob - energy.detach().numpy()).max() < 1e-3
