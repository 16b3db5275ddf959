"""The VAE's bounds are bounds, its options do what they say, gradients pass through the noise, and it exports."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from contract import Capability, read_manifest
from training.data import load
from training.data.images import Images, synthetic_images
from training.export import export
from training.family import DataSummary, OptimizerConfig
from training.graphs import open_session
from training.layers.grey_spline import BINS, LEVELS, GreySpline
from training.layers.importance import fixed_normals, importance_weighted_bound, log_weights
from training.loop import train
from training.models.vae import VAE, LogDensity, kl_to_standard_normal
from training.recipe import load_recipe

TINY = VAE.Config(latent=3, widths=(4, 8), samples=4)


def tiny(side=4, **changes) -> VAE:
    """Every weight random, so that no branch is silent."""
    torch.manual_seed(0)
    family = VAE(TINY.model_copy(update=changes), DataSummary("image", (1, side, side)))
    for parameter in family.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return family.eval()


def grey_images(number, side=4):
    return torch.randint(LEVELS, (number, 1, side, side), generator=torch.Generator().manual_seed(0)) / (LEVELS - 1)


def test_the_kl_in_closed_form_is_that_of_the_samples():
    torch.manual_seed(0)
    mean, log_variance = torch.randn(2, 3, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    posterior, prior = Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)
    closed = kl_to_standard_normal(mean, log_variance)
    torch.testing.assert_close(closed, kl_divergence(posterior, Normal(torch.zeros_like(mean), 1.0)))
    z = posterior.sample((200_000,))
    torch.testing.assert_close(closed, (posterior.log_prob(z) - prior.log_prob(z)).mean(0), atol=0.02, rtol=0)


def linear_gaussian(samples, eps=None, rows=400):
    """z ~ N(0, 1), x = 2z + noise of 0.5, and a poor posterior N(x/3, 0.8^2): the bound, and log p(x) itself."""
    generator = torch.Generator().manual_seed(0)
    x = 2 * torch.randn(rows, generator=generator) + 0.5 * torch.randn(rows, generator=generator)
    eps = torch.randn(rows, samples, 1, generator=generator) if eps is None else eps.expand(rows, -1, -1)
    log_variance = torch.full((rows, 1, 1), 2 * math.log(0.8))
    z = x[:, None, None] / 3 + 0.8 * eps
    log_likelihood = Normal(2 * z[:, :, 0], 0.5).log_prob(x[:, None])
    bound = importance_weighted_bound(log_weights(log_likelihood, z, eps, log_variance))
    return bound.mean().item(), Normal(0.0, math.sqrt(4.25)).log_prob(x).mean().item()


def test_more_samples_tighten_the_bound_up_to_the_likelihood():
    bounds = [linear_gaussian(samples)[0] for samples in (1, 4, 16, 256, 4096)]
    exact = linear_gaussian(1)[1]
    assert bounds == sorted(bounds)
    assert bounds[0] < exact - 1
    assert bounds[-1] == pytest.approx(exact, abs=0.02)


def test_the_samples_of_the_exact_posterior_all_weigh_alike():
    """Of x = z + n, n ~ N(0, 1): q = N(x/2, 1/2) is the posterior, and one sample gives log p(x) exactly."""
    x, eps = torch.tensor([[-1.0], [2.0]]), torch.randn(2, 7, 1, generator=torch.Generator().manual_seed(0))
    z = x[:, :, None] / 2 + math.sqrt(0.5) * eps
    log_weight = log_weights(Normal(z[:, :, 0], 1.0).log_prob(x), z, eps, torch.full((2, 1, 1), math.log(0.5)))
    torch.testing.assert_close(log_weight, Normal(0.0, math.sqrt(2)).log_prob(x).expand(-1, 7))


def test_the_fixed_noise_is_standard_normal_and_always_the_same():
    eps = fixed_normals(1024, 5)
    assert torch.equal(eps, fixed_normals(1024, 5))
    assert eps.mean(0).abs().max() < 0.02
    torch.testing.assert_close(eps.T.cov(), torch.eye(5), atol=0.05, rtol=0)
    assert linear_gaussian(256, fixed_normals(256, 1)[None])[0] <= linear_gaussian(1)[1] + 0.02


def test_gradients_pass_through_the_noise_to_the_posterior():
    """Of E (z - 3)^2 = (mu - 3)^2 + sigma^2 they are known; the encoder learns even without the KL."""
    mean, log_variance = torch.tensor(1.0, requires_grad=True), torch.tensor(0.5, requires_grad=True)
    eps = torch.randn(400_000, generator=torch.Generator().manual_seed(0))
    (mean + (0.5 * log_variance).exp() * eps - 3).square().mean().backward()
    assert mean.grad.item() == pytest.approx(-4, abs=0.05)
    assert log_variance.grad.item() == pytest.approx(math.exp(0.5), abs=0.05)
    family = tiny(beta=0.0)
    family.loss("model", {"x": grey_images(8)}, torch.Generator().manual_seed(0))[0].backward()
    gradient = family.network.to_posterior.weight.grad
    assert (gradient.flatten(1).abs().sum(1) > 0).all()  # of means and of log-variances


def test_beta_weighs_the_kl():
    batch, unit = {"x": grey_images(8)}, 16 * math.log(2)
    losses = {}
    for beta in (0.0, 1.0, 4.0):
        losses[beta], logs = tiny(beta=beta).loss("model", batch, torch.Generator().manual_seed(0))
    assert (losses[4.0] - losses[0.0]).item() == pytest.approx(4 * logs["kl"].item() / unit, rel=1e-4)
    assert losses[1.0].item() == pytest.approx(logs["bits_per_dim"].item(), rel=1e-5)


def test_free_bits_count_where_a_dimension_has_less_and_do_not_pull_at_it():
    batch, unit = {"x": grey_images(8)}, 16 * math.log(2)
    family = tiny(free_bits=100.0)
    loss, _ = family.loss("model", batch, torch.Generator().manual_seed(0))
    distortion, kl = family.parts(batch["x"], torch.Generator().manual_seed(0))
    assert kl.mean(0).max() < 100
    assert loss.item() == pytest.approx((distortion.mean().item() + 3 * 100) / unit, rel=1e-5)
    gradients = [
        torch.autograd.grad(v, family.network.to_posterior.weight)[0] for v in (loss, distortion.mean() / unit)
    ]
    torch.testing.assert_close(*gradients)
    between = kl.mean(0).sort().values[:2].mean().item()  # the least dimension is free, the others pay
    family = tiny(free_bits=between)
    loss, _ = family.loss("model", batch, torch.Generator().manual_seed(0))
    rate = kl.mean(0).clamp(min=between).sum().item()
    assert loss.item() == pytest.approx((distortion.mean().item() + rate) / unit, rel=1e-5)


def test_the_mean_image_is_the_expectation_of_the_grey_levels():
    torch.manual_seed(0)
    spline, raw = GreySpline().double(), 3 * torch.randn(4, BINS, dtype=torch.float64)
    torch.nn.init.normal_(spline.share_logits)
    level = torch.arange(LEVELS, dtype=torch.float64)
    mass = spline.log_prob(level.expand(4, -1), raw[:, None].expand(-1, LEVELS, -1)).exp()
    torch.testing.assert_close(spline.mean(raw), mass @ level)


@torch.no_grad()
def test_the_mean_weights_of_two_pixels_sum_to_one():
    """Over all 256 × 256 images: exp(bound) is an unbiased estimate of p(x), and hardly varies where q is nearly right."""
    torch.manual_seed(0)
    family = VAE(VAE.Config(latent=1, widths=(4,)), DataSummary("image", (1, 1, 2))).eval()
    for parameter in family.parameters():
        parameter.add_(0.2 * torch.randn_like(parameter))
    graph = LogDensity(family.network, fixed_normals(8, 1))
    level = torch.arange(LEVELS) / (LEVELS - 1)
    x = torch.cartesian_prod(level, level).view(-1, 1, 1, 2)
    total = sum(graph(part).exp().sum().item() for part in x.split(8192))
    assert 0.98 < total < 1.02


@torch.no_grad()
def test_a_score_counts_grey_levels_and_not_what_lies_between():
    family = tiny()
    graph, x = LogDensity(family.network, fixed_normals(4, 3)), grey_images(6)
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) - 0.5
    assert torch.equal(graph(x), graph(x + 0.99 * noise / (LEVELS - 1)))
    assert not torch.equal(graph(x), graph(1 - x))


@torch.no_grad()
def test_the_score_is_the_bound_of_its_samples_one_by_one():
    family = tiny()
    eps, x = fixed_normals(4, 3), grey_images(5)
    k = (x * (LEVELS - 1)).round()
    mean, log_variance = family.network.posterior(k)
    posterior = Normal(mean, (0.5 * log_variance).exp())
    weights = []
    for sample in eps:
        z = posterior.loc + posterior.scale * sample
        parts = Normal(0.0, 1.0).log_prob(z).sum(1) - posterior.log_prob(z).sum(1)
        weights.append(family.network.log_likelihood(k, z).flatten(1).sum(1) + parts)
    expected = torch.stack(weights).logsumexp(0) - math.log(4)
    torch.testing.assert_close(LogDensity(family.network, eps)(x), expected, atol=1e-3, rtol=0)


def test_a_few_steps_of_training_lower_the_bits():
    torch.manual_seed(0)
    family = VAE(VAE.Config(latent=4, widths=(4, 8, 8)), DataSummary("image", (1, 28, 28)))
    batch = Images(*synthetic_images(32, seed=0)).at(torch.arange(32))
    optimizers, losses = family.optimizers("model", OptimizerConfig(learning_rate=1e-2)), []
    for _ in range(20):
        loss, _ = family.loss("model", batch, torch.Generator().manual_seed(0))
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        losses.append(loss.item())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in family.parameters())
    assert losses[-1] < losses[0] - 0.5


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A small VAE from recipe to model directory."""
    place = tmp_path_factory.mktemp("vae")
    settings = {
        "data.dataset": "synthetic-images",
        "data.batch_size": 16,
        "model.widths": [4, 8, 8],
        "model.latent": 4,
        "model.samples": 5,
        "train.steps": 4,
        "train.validate_every": 2,
        "train.precision": "32-true",
        "export.batch_sizes": [1, 2, 3, 7],
        "evaluate.metrics": [],
    }
    recipe = load_recipe("mnist-vae", [f"--{key}={value}" for key, value in settings.items()])
    dataset = load(recipe.data, None)
    trained = train(recipe, dataset, place / "run", {"accelerator": "cpu"}, progress=False)
    return export(recipe, trained, dataset, place / "exported"), trained.family, dataset


def test_from_recipe_to_a_directory_that_the_contract_reads(exported):
    place, _, dataset = exported
    manifest = read_manifest(place)
    graphs = manifest.capabilities
    assert set(graphs) == {Capability.ENCODE, Capability.DECODE, Capability.RECONSTRUCT, Capability.LOG_DENSITY}
    assert graphs[Capability.LOG_DENSITY].density == "bound"
    assert manifest.latent.size == 4
    assert manifest.calibration.size == len(dataset.calibration)
    for graph in graphs.values():
        assert graph.parity.max_abs_diff <= graph.parity.tolerance
        assert graph.batch_invariance.max_abs_diff == 0
    sessions = {capability: open_session(place / graph.file) for capability, graph in graphs.items()}
    x = dataset.validation.at(torch.arange(9))["x"].numpy()
    (z,) = sessions[Capability.ENCODE].run(["embedding"], {"x": x})
    (decoded,) = sessions[Capability.DECODE].run(["x"], {"z": z})
    (x_hat,) = sessions[Capability.RECONSTRUCT].run(["x_hat"], {"x": x})
    np.testing.assert_allclose(decoded, x_hat, atol=1e-5)
    assert 0 <= x_hat.min() <= x_hat.max() <= 1


def test_a_rows_score_does_not_depend_on_its_batch(exported):
    place, _, dataset = exported
    session = open_session(place / "log_density.onnx")
    x = dataset.validation.at(torch.arange(24))["x"].numpy()
    alone = np.concatenate([session.run(["log_prob"], {"x": x[i : i + 1]})[0] for i in range(24)])
    assert len(np.unique(alone)) > 1
    for size in (2, 3, 5, 8, 24):
        rows = np.random.default_rng(size).permutation(24)[:size]
        assert np.array_equal(session.run(["log_prob"], {"x": x[rows]})[0], alone[rows])


@torch.no_grad()
def test_the_score_is_at_least_the_evidence_lower_bound(exported):
    place, family, dataset = exported
    x = dataset.validation.at(torch.arange(32))["x"]
    (log_prob,) = open_session(place / "log_density.onnx").run(["log_prob"], {"x": x.numpy()})
    elbo = np.mean([-family.validation({"x": x}, torch.Generator().manual_seed(s))["loss"].item() for s in range(20)])
    assert log_prob.mean() >= elbo * 28 * 28 * math.log(2) - 0.5


def test_odd_sides_are_refused():
    with pytest.raises(ValueError, match=r"sides in multiples of 4, found \(1, 30, 30\)"):
        VAE(VAE.Config(), DataSummary("image", (1, 30, 30)))
