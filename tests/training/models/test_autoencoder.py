"""The autoencoder's codes are whitened, each restoration learns and leaves through the gate, and known pixels stay."""

import numpy as np
import pytest
import torch

from contract import Capability, read_manifest
from contract.manifest import Restoration
from training.data import load
from training.data.images import Images, synthetic_images
from training.export import export
from training.family import DataSummary, OptimizerConfig
from training.graphs import open_session
from training.layers.gaussian_codes import GaussianCodes
from training.layers.restorer import Restorer
from training.loop import train
from training.models.autoencoder import ConvolutionalAutoencoder
from training.recipe import RecipeError, load_recipe

GREY, COLOUR = DataSummary("image", (1, 28, 28)), DataSummary("image", (3, 28, 28))
TINY = ConvolutionalAutoencoder.Config(widths=(4, 8, 8), latent=6)
DEGRADATIONS = ("none", "noise", "mask", "downscale", "grey")


def tiny(data=COLOUR, **changes) -> ConvolutionalAutoencoder:
    """Every weight random, so that no branch is silent: at the start the residual blocks are the identity."""
    torch.manual_seed(0)
    family = ConvolutionalAutoencoder(TINY.model_copy(update=changes), data)
    for parameter in family.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    return family.eval()


def digits(size=64):
    return Images(*synthetic_images(size, seed=0)).at(torch.arange(size))


@pytest.mark.parametrize("degradation", DEGRADATIONS)
def test_a_few_steps_lower_the_error_and_every_weight_learns(degradation):
    family, x = tiny(degradation=degradation).train(), digits()["x"]
    batch = {"x": torch.cat([x, x.roll(1, 0), x.roll(2, 0)], dim=1)}
    optimizers = family.optimizers("model", OptimizerConfig(learning_rate=1e-2))
    losses = []
    for _ in range(30):
        loss, _ = family.loss("model", batch, torch.Generator().manual_seed(0))
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        losses.append(loss.item())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in family.parameters())
    assert sum(len(group["params"]) for o in optimizers for group in o.param_groups) == len(list(family.parameters()))
    assert losses[-1] < 0.85 * losses[0]


def test_whitened_codes_have_no_mean_and_the_identity_for_covariance():
    torch.manual_seed(0)
    codes = torch.randn(500, 5) @ torch.randn(5, 5) + 3
    prior = GaussianCodes(5)
    assert torch.equal(prior.whiten(codes), codes)  # not fitted: nothing to whiten
    prior.fit(codes)
    z = prior.whiten(codes)
    torch.testing.assert_close(z.mean(0), torch.zeros(5), atol=1e-4, rtol=0)
    torch.testing.assert_close(z.T.cov(), torch.eye(5), atol=1e-4, rtol=0)
    torch.testing.assert_close(prior.colour(z), codes, atol=1e-4, rtol=0)


def test_a_silent_code_does_not_break_the_fit():
    codes = torch.randn(50, 3) * torch.tensor([1.0, 0.0, 2.0])
    prior = GaussianCodes(3)
    prior.fit(codes)
    assert prior.whiten(codes).isfinite().all()


@torch.no_grad()
def test_whitening_changes_the_codes_and_not_the_images():
    family, batch = tiny(data=GREY), digits(100)
    before = family.network.of_code(family.network.code(batch["x"])).clamp(0, 1)
    fitted = family.fit([{"x": part} for part in batch["x"].split(40)])
    assert fitted["codes"] == 100
    z = family.network.encode(batch["x"])
    torch.testing.assert_close(z.T.cov(), torch.eye(TINY.latent), atol=1e-2, rtol=0)
    torch.testing.assert_close(family.network.decode(z), before, atol=1e-4, rtol=0)


def test_known_pixels_stay_exactly_and_holes_do_not():
    restorer = tiny(data=GREY, degradation="mask").network
    x = torch.rand(4, 1, 28, 28)
    hidden = torch.zeros_like(x, dtype=torch.bool)
    hidden[:, :, 5:20, 7:] = True
    x_hat = restorer(torch.where(hidden, -1.0, x))
    assert torch.equal(x_hat[~hidden], x[~hidden])
    assert x_hat.min() >= 0
    assert x_hat.max() <= 1


def test_every_negative_noise_level_means_unknown_and_a_positive_one_matters():
    network, x = tiny(data=GREY, degradation="noise").network, torch.rand(1, 1, 28, 28)
    unknown = network(x, torch.tensor([-1.0]))
    assert torch.equal(unknown, network(x, torch.tensor([-0.01])))
    assert not torch.allclose(unknown, network(x, torch.tensor([0.9])))


@pytest.mark.parametrize("factor", [2, 4])
def test_an_untrained_upscaler_starts_from_the_enlarged_image(factor):
    network = Restorer((1, 28, 28), Restoration(degradation="downscale", factor=factor), (4, 8), 1)
    torch.nn.init.zeros_(network.expansion.head.weight)
    torch.nn.init.zeros_(network.expansion.head.bias)
    small = torch.full((2, 1, 28 // factor, 28 // factor), 0.25)
    torch.testing.assert_close(network(small), torch.full((2, 1, 28, 28), 0.25))


def recipe(degradation, **changes):
    settings = {
        "data.dataset": "synthetic-colours" if degradation == "grey" else "synthetic-images",
        "data.batch_size": 16,
        "model.degradation": degradation,
        "model.widths": [4, 8, 8],
        "model.latent": 6,
        "train.steps": 4,
        "train.validate_every": 2,
        "train.precision": "32-true",
        "export.batch_sizes": [1, 3, 8],
        "evaluate.metrics": [],
        **changes,
    }
    return load_recipe("mnist-restorer", [f"--{key}={value}" for key, value in settings.items()])


@pytest.mark.parametrize("degradation", DEGRADATIONS)
def test_from_recipe_to_a_directory_that_the_contract_reads(degradation, tmp_path):
    settings = recipe(degradation)
    dataset = load(settings.data, None)
    trained = train(settings, dataset, tmp_path / "run", {"accelerator": "cpu"}, progress=False)
    place = export(settings, trained, dataset, tmp_path / "exported")
    manifest = read_manifest(place)
    graph = manifest.capabilities[Capability.RECONSTRUCT]
    assert graph.parity.max_abs_diff <= graph.parity.tolerance
    assert graph.batch_invariance.max_abs_diff == 0
    session = open_session(place / graph.file)
    shape = {"grey": (1, 28, 28), "downscale": (1, 14, 14)}.get(degradation, (1, 28, 28))
    assert manifest.degraded_shape == shape
    given = {"x": np.random.default_rng(0).random((5, *shape), np.float32)}
    if degradation == "noise":
        given["sigma"] = np.array([-1, 0, 0.1, 0.5, 1], np.float32)
        assert manifest.sigma_range == (0.0, 1.0)
    (x_hat,) = session.run(["x_hat"], given)
    assert x_hat.shape == (5, *manifest.data.shape)
    if degradation == "mask":
        given["x"][:, :, 14:] = manifest.restoration.fill
        (x_hat,) = session.run(["x_hat"], given)
        assert np.array_equal(x_hat[:, :, :14], given["x"][:, :, :14])
        assert x_hat.min() >= 0
    if degradation != "none":
        assert set(manifest.capabilities) == {Capability.RECONSTRUCT}
        assert manifest.restoration.degradation == degradation
        return
    assert manifest.restoration is None
    assert manifest.latent.size == 6
    z = np.random.default_rng(0).standard_normal((5, 6), np.float32)
    (x,) = open_session(place / manifest.capabilities[Capability.DECODE].file).run(["x"], {"z": z})
    assert x.shape == (5, *manifest.data.shape)
    encode = open_session(place / manifest.capabilities[Capability.ENCODE].file)
    held_out = dataset.validation.at(torch.arange(len(dataset.validation)))["x"].numpy()
    (embedding,) = encode.run(["embedding"], {"x": held_out})
    assert np.abs(np.cov(embedding.T) - np.eye(6)).max() < 0.01


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(RecipeError, match=r"model\.fill: .*outside of \[0, 1\].*found 0\.5"):
        recipe("mask", **{"model.fill": 0.5})
    with pytest.raises(ValueError, match="grey needs images of three channels"):
        tiny(data=GREY, degradation="grey")
    with pytest.raises(ValueError, match=r"sides in multiples of 4, found \(1, 30, 30\)"):
        tiny(data=DataSummary("image", (1, 30, 30)))
    with pytest.raises(ValueError, match=r"model\.factor: expected a divisor"):
        tiny(data=DataSummary("image", (1, 6, 6)), degradation="downscale", factor=4, widths=(4, 8))
