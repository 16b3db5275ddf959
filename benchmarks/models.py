"""Untrained models of known sizes, written by the repository's own exporter into a store: speed asks for no training."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from training.data import Dataset, load
from training.data.tables import Rows
from training.data.texts import Windows
from training.data.tokenizers import character_tokenizer
from training.export import export
from training.family import DataSummary, Family, GraphExport
from training.loop import Trained
from training.models.diffusion import Diffusion
from training.models.gpt import GPT
from training.models.kde import KDE
from training.models.table import TableScores
from training.recipe import Recipe, load_recipe

Weights = Literal["float32", "int8"]

CHARACTERS = "\n" + "".join(chr(c) for c in range(ord(" "), ord(" ") + 64))
"""Of a text model: 65 tokens, as many as tiny Shakespeare has."""


@dataclass(frozen=True)
class TextSize:
    """A transformer: `layers` × `width`, of one key/value head."""

    layers: int
    width: int
    heads: int
    context: int = 256
    kv_heads: int = 1

    @property
    def name(self) -> str:
        return f"{self.layers}x{self.width}"


SMALL, MEDIUM = TextSize(8, 128, 4), TextSize(6, 384, 6)


def text_recipe(size: TextSize, weights: Weights = "float32") -> Recipe:
    """The recipe of the shipped text model, at this size."""
    changes = {
        "name": f"gpt-{size.name}-{weights}",
        "export.weights": weights,
        "data.context": size.context,
        "export.batch_sizes": [1, 2, 3, 8],
        "model.layers": size.layers,
        "model.width": size.width,
        "model.heads": size.heads,
        "model.kv_heads": size.kv_heads,
    }
    return load_recipe("shakespeare-gpt", [f"--{key}={value}" for key, value in changes.items()])


def random_text(recipe: Recipe) -> Dataset:
    """Tokens drawn at random: enough for the exporter to compare graphs on."""
    generator = torch.Generator().manual_seed(0)
    size, windows = recipe.data.context + 1, 8
    tokens = torch.randint(len(CHARACTERS), (windows * size,), generator=generator)
    rows = Windows(tokens, size, torch.arange(windows) * size)
    summary = DataSummary("text", vocabulary=len(CHARACTERS))
    return Dataset("random-text", summary, rows, rows, rows, tokenizer=character_tokenizer(CHARACTERS))


class _OnlyNextToken(GPT):
    """The other graphs take longest to write, and no comparison needs them."""

    def graphs(self) -> list[GraphExport]:
        return super().graphs()[:1]


def text_model(store: Path, size: TextSize, weights: Weights = "float32") -> tuple[Path, GPT]:
    """An untrained GPT in `store`, always the same one of a size. Returns its directory, and the network."""
    recipe = text_recipe(size, weights)
    data = random_text(recipe)
    torch.manual_seed(0)
    gpt = _OnlyNextToken(recipe.model_config_, data.summary)
    _randomise(gpt)
    return export(recipe, Trained(gpt, 0, 0.0, "none"), data, store), gpt


def diffusion_model(store: Path) -> tuple[Path, Diffusion]:
    """The network of training/recipes/mnist-diffusion.toml with random weights. Returns its directory, and itself."""
    changes = ("--data.dataset=synthetic-images", "--data.batch_size=8", "--export.batch_sizes=[1, 2, 3, 8]")
    recipe = load_recipe("mnist-diffusion", changes)
    data = load(recipe.data, None)
    torch.manual_seed(0)
    diffusion = Diffusion(recipe.model_config_, data.summary)
    _randomise(diffusion)
    return export(recipe, Trained(diffusion, 0, 0.0, "none"), data, store), diffusion


class _WideKDE(KDE):
    """Of 784 dimensions a log-probability is of the order of 1,000 nats, and float32 rounds it accordingly."""

    def graphs(self) -> list[GraphExport]:
        return [replace(graph, tolerance=2e-3) for graph in super().graphs()]


def kde_model(store: Path, points: int, size: int) -> tuple[Path, KDE]:
    """The density around normal `points` of `size` dimensions. Returns its directory, and itself.

    Points and vectors are in whitened space already: the model only moves and scales by 1.
    """
    recipe = load_recipe(
        "pendigits-kde", [f"--model.points={points}", "--model.bandwidths=one", "--model.scaling=columns"]
    )
    rows = Rows(torch.randn(points, size, generator=torch.Generator().manual_seed(0)))
    data = Dataset("normal", DataSummary("vector", (size,)), rows, rows, rows)
    kde = _WideKDE(recipe.model_config_, data.summary)
    kde.points.copy_(rows.values)
    kde.count.fill_(points)
    return export(recipe, Trained(kde.eval(), 0, 0.0, "none"), data, store), kde


def table_model(store: Path, rows: torch.Tensor, statistic: str, neighbours: int = 5) -> TableScores:
    """Rows (N, D) of a table scored by one statistic, written as the model `rows-<statistic>`; returns its family."""
    changes = {
        "name": f"rows-{statistic.replace('_', '-')}",
        "model.statistics": [statistic],
        "model.neighbours": neighbours,
        "model.points": len(rows),
    }
    recipe = load_recipe("pendigits-scores", [f"--{key}={json.dumps(value)}" for key, value in changes.items()])
    source, few = Rows(rows), Rows(rows[:1000])
    data = Dataset("rows", DataSummary("vector", (rows.shape[1],)), source, few, few)
    family = TableScores(recipe.model_config_, data.summary)
    family.prepare(source)
    export(recipe, Trained(family.eval(), 0, 0.0, "none"), data, store)
    return family


def _randomise(family: Family) -> None:
    """Fill in what training starts at zero, so that no branch of the network is silent."""
    with torch.no_grad():
        for parameter in family.parameters():
            if not parameter.any():
                fan_in = parameter[0].numel() if parameter.ndim > 1 else 100
                nn.init.normal_(parameter, std=fan_in**-0.5)
    family.eval()
