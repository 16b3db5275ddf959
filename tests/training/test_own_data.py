"""A user's own folder of pictures, and own text: read as they lie there, or refused with a reason."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from contract import read_manifest
from training.__main__ import main
from training.data import load
from training.data.source import DataError
from training.recipe import DataConfig, load_recipe


def write_pictures(folder: Path, count: int = 60, size: tuple[int, int] = (20, 12), suffix: str = ".png") -> Path:
    """Grey levels that tell the number of the picture."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.new("L", size, i).save(folder / f"{i:03}{suffix}")
    return folder


def pictures(folder: Path, **fields: object) -> DataConfig:
    return DataConfig(dataset="pictures", path=str(folder), side=8, **fields)


def test_a_folder_becomes_squares_of_one_size_and_every_picture_is_in_one_part(tmp_path: Path) -> None:
    dataset = load(pictures(write_pictures(tmp_path / "mine")), None)
    assert (dataset.name, dataset.summary.shape, dataset.summary.class_names) == ("mine", (1, 8, 8), ())
    parts = [dataset.train, dataset.validation, dataset.calibration]
    levels = torch.cat([part.at(torch.arange(len(part)))["x"].mean((1, 2, 3)) * 255 for part in parts])
    assert sorted(levels.round().int().tolist()) == list(range(60))
    assert all(len(part) >= 9 for part in parts)


def test_a_relative_path_is_looked_for_in_the_data_root_too(tmp_path: Path) -> None:
    write_pictures(tmp_path / "mine")
    assert load(DataConfig(dataset="pictures", path="mine", side=8), tmp_path).name == "mine"


def test_folders_in_it_are_classes(tmp_path: Path) -> None:
    for name, count in (("cats", 30), ("ants", 40)):
        write_pictures(tmp_path / "mine" / name, count)
    dataset = load(pictures(tmp_path / "mine"), None)
    assert dataset.summary.class_names == ("ants", "cats")
    labels = torch.cat([part.at(torch.arange(len(part)))["label"] for part in (dataset.train, dataset.validation)])
    assert set(labels.tolist()) == {0, 1}


def test_colours_and_the_camera_s_turn(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    pixels = np.zeros((12, 12, 3), np.uint8)
    pixels[:6, :, 0] = 255  # red above
    turned = Image.Exif()
    turned[0x0112] = 3  # upside down
    for i in range(50):
        Image.fromarray(pixels).save(folder / f"{i}.png", exif=turned)
    x = load(pictures(folder, colours=True), None).train.at(torch.arange(1))["x"][0]
    assert x.shape == (3, 8, 8)
    assert x[0, 6, 4] > 0.9 > 0.1 > x[0, 1, 4]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda f: [p.unlink() for p in sorted(f.iterdir())[20:]], "expected 50 PNG or JPEG files at least"),
        (lambda f: (f / "007.png").write_bytes(b"no picture"), "007.png cannot be read"),
        (lambda f: write_pictures(f / "a-class", 3), "in folders of classes, or none"),
        (lambda f: f.rename(f.with_name("gone")), "expected a folder of pictures, found none at"),
    ],
    ids=["few", "unreadable", "loose", "gone"],
)
def test_a_folder_that_cannot_be_used_is_refused(tmp_path: Path, spoil, says: str) -> None:
    folder = write_pictures(tmp_path / "mine")
    spoil(folder)
    with pytest.raises(DataError, match=says):
        load(pictures(folder), None)


def test_a_text_is_one_s_own_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("one two three.\n" * 400, encoding="utf-8")
    dataset = load(DataConfig(dataset="text", path=str(path), context=16), None)
    assert dataset.name == "mine.txt"
    assert dataset.tokenizer is not None
    assert dataset.tokenizer.decode(dataset.train.at(torch.arange(1))["input_ids"][0].tolist()) == "one two three.\non"


@pytest.mark.parametrize(
    ("content", "says"), [(None, "expected a text file, found none at"), (b"caf\xe9", "expected UTF-8")]
)
def test_a_text_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "mine.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=says):
        load(DataConfig(dataset="text", path=str(path)), None)


@pytest.mark.parametrize("dataset", ["pictures", "text", "table"])
def test_a_recipe_without_a_path_says_which_to_give(dataset: str) -> None:
    with pytest.raises(DataError, match=r"data\.path: .*--data\.path"):
        load(DataConfig(dataset=dataset), None)


@pytest.mark.slow
def test_classes_of_one_s_own_can_be_asked_for(tmp_path: Path) -> None:
    """A recipe of digits, with a folder instead."""
    for name in ("round", "square"):
        write_pictures(tmp_path / "mine" / name, 30, (16, 16))
    small = {"data.side": "16", "data.batch_size": "8", "export.batch_sizes": "[1, 2]", "train.steps": "2"}
    small |= {"model.generator_widths": "[8, 8, 8]", "model.discriminator_widths": "[8, 8]", "evaluate.metrics": "[]"}
    overrides = [part for name, value in small.items() for part in (f"--{name}", value)]
    own = ["--data.dataset", "pictures", "--data.path", str(tmp_path / "mine"), "--name", "mine"]
    places = ["--run-dir", str(tmp_path / "run"), "--exported", str(tmp_path / "models"), "--no-progress"]
    assert main(["run", "mnist-gan", *own, *overrides, *places]) == 0
    manifest = read_manifest(tmp_path / "models" / "mine" / "1")
    assert manifest.data.class_names == ("round", "square")
    assert manifest.sheet is not None


@pytest.mark.parametrize("name", ["pictures", "picture-scores", "text", "table", "lines"])
def test_recipes_for_one_s_own_name_a_path_to_replace(name: str) -> None:
    assert load_recipe(name).data.path
