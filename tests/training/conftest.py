"""A tiny language model on generated text, trained in a second, for the tests of everything around it."""

import os
from pathlib import Path

import pytest
import torch

from training.data import Dataset, load
from training.family import Family
from training.models.gpt import GPT
from training.recipe import Recipe, load_recipe

TINY = {
    "data.dataset": "synthetic-text",
    "data.context": 24,
    "data.batch_size": 8,
    "model.layers": 2,
    "model.width": 32,
    "model.heads": 2,
    "model.kv_heads": 1,
    "model.dropout": 0.0,
    "train.steps": 6,
    "train.warmup_steps": 2,
    "train.validate_every": 3,
    "train.checkpoint_every_steps": 2,
    "train.precision": "32-true",
    "export.batch_sizes": [1, 3],
}


def tiny(**changes: object) -> list[str]:
    """Overrides that make of shakespeare-gpt a model for tests."""
    return [f"--{key}={value}" for key, value in {**TINY, **changes}.items()]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_recipe() -> Recipe:
    return load_recipe("shakespeare-gpt", tiny())


@pytest.fixture(scope="session")
def tiny_data(tiny_recipe: Recipe) -> Dataset:
    return load(tiny_recipe.data, None)


@pytest.fixture(scope="session")
def tiny_gpt(tiny_recipe: Recipe, tiny_data: Dataset) -> Family:
    """Untrained, with every weight random, so that no branch of the network is silent."""
    torch.manual_seed(0)
    gpt = GPT(tiny_recipe.model_config_, tiny_data.summary)
    for parameter in gpt.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return gpt.eval()


@pytest.fixture(scope="session")
def data_root() -> Path:
    root = os.environ.get("AMOSTRA_DATA")
    if not root:
        pytest.skip("needs real data: set AMOSTRA_DATA to its folder")
    return Path(root)
