"""A store of untrained models of synthetic images, for the tests of what is measured of exported models."""

from pathlib import Path

import pytest
import torch

from training.data import load
from training.export import export
from training.loop import Trained
from training.recipe import load_recipe

GAN = ["--model.generator_widths=[16, 8, 8]", "--model.discriminator_widths=[8, 16]", "--model.latent=8"]
ENCODER = ["--model.widths=[4, 8, 8]", "--model.features=16"]
SMALL = {
    "mnist-features": ["--data.dataset=synthetic-images", *ENCODER],
    "mnist-contrastive": ["--data.dataset=synthetic-images", *ENCODER],
    "mnist-gan": ["--data.dataset=synthetic-images", *GAN],
    "stacked-mnist-gan": ["--data.dataset=synthetic-colours", *GAN],
    "mnist-denoiser": ["--data.dataset=synthetic-images", "--model.widths=[32, 32]", "--model.embedding=8"],
    "mnist-restorer": ["--data.dataset=synthetic-images", "--model.widths=[8, 16]"],
    "pendigits-kde": ["--data.dataset=synthetic-table", "--model.points=2000"],
}


@pytest.fixture(scope="session")
def synthetic_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("synthetic")
    for name, overrides in SMALL.items():
        small = ["--export.batch_sizes=[1, 2, 5]", "--export.calibration_size=20"]
        recipe = load_recipe(name, [*small, *overrides])
        dataset = load(recipe.data, None)
        torch.manual_seed(0)
        family = recipe.family_class(recipe.model_config_, dataset.summary)
        family.prepare(dataset.train)
        export(recipe, Trained(family, 0, 0.0, "none"), dataset, store)
    return store
