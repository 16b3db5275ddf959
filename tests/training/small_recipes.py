"""A recipe of every family, made so small that a few steps on small data train it."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from training.data import Dataset, load
from training.data.images import Images, synthetic_images
from training.loop import Trained, train
from training.recipe import Recipe, load_recipe

CPU = {"accelerator": "cpu", "devices": 1}
SHORT = {
    "data.batch_size": 16,
    # Rates at which so few steps wake every weight: at the start many branches are silent, and would agree with anything.
    "optimizer.learning_rate": 0.03,
    "optimizer.muon_learning_rate": 0.05,
    "train.steps": 40,
    "train.warmup_steps": 0,
    "train.ema_decay": 0.9,
    "train.validate_every": 40,
    "train.precision": "32-true",
    "export.weights": "float32",
    "export.batch_sizes": [1, 3],
    "export.calibration_size": 16,
}


@dataclass(frozen=True)
class Small:
    """The tasks that a recipe's model is to serve, and what makes the recipe small."""

    tasks: str
    changes: dict[str, Any]


def pictures(tasks: str, **model: Any) -> Small:
    """Of small pictures; the sizes of the model."""
    return Small(tasks, {"data.dataset": "pictures", "data.side": 8} | _sizes(model))


def rows(tasks: str, **model: Any) -> Small:
    return Small(tasks, {"data.dataset": "synthetic-table"} | _sizes(model))


def texts(tasks: str, **model: Any) -> Small:
    return Small(tasks, {"data.dataset": "synthetic-text", "data.context": 24} | _sizes(model))


def lines(tasks: str, **model: Any) -> Small:
    return Small(tasks, {"data.dataset": "synthetic-lines"} | _sizes(model))


def _sizes(model: dict[str, Any]) -> dict[str, Any]:
    return {f"model.{name}": size for name, size in model.items()}


UNET = {"widths": [32], "blocks": 1, "embedding": 16}
CONVOLUTIONS = {"widths": [4, 8, 8], "features": 16}
TRANSFORMER = {"layers": 1, "width": 32, "heads": 2, "kv_heads": 1}

RECIPES = {
    "mnist-autoencoder": pictures("generate restore embed", widths=[4, 8], latent=6),
    "mnist-restorer": pictures("edit restore", widths=[4, 8]),
    "mnist-upscaler": pictures("restore", widths=[4, 8]),
    "shakespeare-bigram": texts("score complete"),
    "mnist-features": pictures("embed", **CONVOLUTIONS),
    "mnist-consistency": pictures("generate denoise edit", **UNET),
    "mnist-contrastive": pictures("embed", **CONVOLUTIONS),
    "photo-denoiser": pictures("denoise restore", widths=[8, 16], blocks=1, middle_blocks=1),
    "mnist-diffusion": pictures("generate denoise edit", **UNET),
    "mnist-flow": pictures("generate embed score", widths=[8], depth=1, coarse_width=16),
    "mnist-gan": pictures(
        "generate score", generator_widths=[16, 8, 8], discriminator_widths=[8, 16], features=16, latent=8
    ),
    "shakespeare-gpt": texts("embed score complete", **TRANSFORMER, context=24),
    "mnist-scores": pictures("score", points=50, directions=8, components=8),
    "pendigits-kde": rows("score", points=200),
    "shakespeare-lines": lines("score", **TRANSFORMER),
    "mnist-pixel-gpt": pictures("generate edit score", **TRANSFORMER, reach=1, exact=1),
    "mnist-rbm": pictures("generate score", hidden=16, annealing_steps=20),
    "pendigits-scores": rows("score", points=200, statistics=["knn", "kde", "ensemble"]),
    "pendigits-flow": rows("sample embed score", width=16, depth=1, layers=1),
    "mnist-vae": pictures("generate restore embed score", widths=[4, 8], samples=3),
}
FURTHER = {
    "photo-denoiser": {"data.crop": 8},
    "mnist-rbm": {"optimizer.learning_rate": 1.0},  # of plain gradient descent
}
TEACHER = """
name = "teacher"
family = "diffusion"
description = "What the consistency model begins as."
licence = "none"
data = {{ dataset = "pictures", path = "{folder}", side = 8, batch_size = 16 }}
model = {{ widths = [32], blocks = 1, embedding = 16 }}
optimizer = {{ learning_rate = 0.03, muon_learning_rate = 0.05 }}
train = {{ steps = 40, warmup_steps = 0, validate_every = 40 }}
"""


def write_pictures(folder: Path) -> Path:
    """Grey pictures in two classes."""
    pixels, labels = synthetic_images(120, seed=0)
    for i, (picture, label) in enumerate(zip(pixels.numpy(), labels.tolist(), strict=True)):
        place = folder / ("odd" if label % 2 else "even")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture[0]).save(place / f"{i:03}.png")
    return folder


def trained(name: str, folder: Path, place: Path) -> tuple[Recipe, Dataset, Trained]:
    """Train a recipe, by the pictures of a folder where it takes some, with its run in a directory of `place`."""
    changes = {**SHORT, **RECIPES[name].changes, **FURTHER.get(name, {})}
    if changes["data.dataset"] == "pictures":
        changes["data.path"] = str(folder)
    if name == "mnist-consistency":
        changes["model.teacher"] = str(place / "teacher.toml")
        (place / "teacher.toml").write_text(TEACHER.format(folder=folder))
        teacher = load_recipe(changes["model.teacher"])
        train(teacher, load(teacher.data, None), place / teacher.name, CPU, progress=False)
    recipe = load_recipe(name, [f"--{key}={json.dumps(value)}" for key, value in changes.items()])
    dataset = load(recipe.data, None)
    if recipe.family == "flow":
        dataset = corner(dataset)
    return recipe, dataset, train(recipe, dataset, place / "run", CPU, progress=False)


def corner(dataset: Dataset) -> Dataset:
    """Two rows of four pixels of each picture: a flow's graphs take long to write, and longer for every pixel in a row."""
    parts = {
        name: Images(part.pixels[:, :, 2:4, 1:5], part.labels)
        for name, part in vars(dataset).items()
        if isinstance(part, Images)
    }
    return replace(dataset, summary=replace(dataset.summary, shape=(1, 2, 4)), **parts)
