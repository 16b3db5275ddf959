"""Every kind of model gets a small picture that its manifest names."""

import copy
import shutil

import numpy as np
import pytest
from PIL import Image

from contract import read_manifest
from training.evaluation.sheets import write_sheet
from training.export import export
from training.graphs import sha256
from training.loop import Trained

CAPTION = 20


def copied(store, name, tmp_path):
    return shutil.copytree(store / name / "1", tmp_path / name / "1")


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("mnist-gan", (560, 560 + 112 + 2 * CAPTION)),
        ("stacked-mnist-gan", (560, 560 + 112 + 2 * CAPTION)),
        ("pendigits-kde", (600, 280 + CAPTION)),
        ("mnist-restorer", (560, 3 * 56 + CAPTION)),
        ("mnist-denoiser", (560, 3 * 56 + CAPTION)),
        ("mnist-features", (600, 600 + CAPTION)),
    ],
)
def test_a_sheet_shows_what_a_model_does(name, size, synthetic_store, tmp_path):
    directory = copied(synthetic_store, name, tmp_path)
    path = write_sheet(directory, None, seed=0)
    with Image.open(path) as picture:
        assert picture.size == size
        assert np.asarray(picture.convert("L")).std() > 10
    assert path.stat().st_size < 150_000
    reference = read_manifest(directory).sheet
    assert (reference.file, reference.sha256) == (path.name, sha256(path))


def test_the_same_seed_draws_the_same_sheet(synthetic_store, tmp_path):
    directory = copied(synthetic_store, "mnist-gan", tmp_path)
    first = write_sheet(directory, None, seed=1).read_bytes()
    assert write_sheet(directory, None, seed=1).read_bytes() == first
    assert write_sheet(directory, None, seed=2).read_bytes() != first


def test_a_model_of_text_shows_what_it_writes(tiny_recipe, tiny_data, tiny_gpt, tmp_path):
    directory = export(
        tiny_recipe, Trained(copy.deepcopy(tiny_gpt), 0, 0.0, "none"), tiny_data, tmp_path
    )  # which fits it
    with Image.open(write_sheet(directory, None, seed=0)) as picture:
        assert picture.width == 600
        assert np.asarray(picture.convert("L")).min() < 50
