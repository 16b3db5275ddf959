"""The models of this repository: they load, and a row's bits are the same whoever shares its batch."""

from pathlib import Path

import numpy as np
import pytest

from contract import Capability, TensorSpec
from service.engine.batch import Batch, Lane, Piece, Work
from service.engine.job import Arrays, RowCall
from service.engine.rows import RowRunner
from service.loading import load_model
from service.model import TASKS, LoadedModel
from service.settings import Settings
from service.tasks.tokens import width_of

STORE = Path(__file__).parents[2] / "exported"
SHIPPED = sorted(path.parent for path in STORE.glob("[!.]*/[!.]*/manifest.json"))
LANE = Lane("model", "shape", 256)
LARGE = 100
"""Rows of a batch that is padded to 128: the same ones again and again."""
QUICK = 10_000
"""Tokens of a batch that take no more than a second or two."""
SIDE = 20
"""Of images whose sides are free."""


def load(directory: Path) -> LoadedModel:
    return load_model(directory, Settings(provider="cpu"), "cpu")


def test_every_task_has_a_shipped_default_model() -> None:
    tasks = {model.id: model.tasks for model in map(load, SHIPPED)}
    for task in TASKS:
        assert task in tasks[getattr(Settings(), f"default_{task}")]


def rows_for(model: LoadedModel, capability: Capability, rows: int, width: int) -> Arrays:
    """Random inputs of the kind that the graph takes."""
    rng = np.random.default_rng(width)
    tensors = model.manifest.capabilities[capability].inputs
    text, classes = model.manifest.text, len(model.manifest.data.class_names)

    def one(tensor: TensorSpec) -> np.ndarray:
        if tensor.name == "input_ids":
            assert text is not None
            return rng.integers(0, text.vocabulary, (rows, width))
        if tensor.name == "lengths":
            return rng.integers(2, width + 1, rows)
        if tensor.name == "label":
            return rng.integers(0, classes, rows)
        if tensor.name == "sigma" and capability is Capability.DENOISE_STEP:
            assert model.manifest.sigma_range is not None
            return rng.uniform(*model.manifest.sigma_range, rows).astype(np.float32)
        if tensor.name == "sigma":
            return rng.choice([-1, 0.05, 0.2], rows).astype(np.float32)
        shape = [d if isinstance(d, int) else SIDE for d in tensor.shape[1:]]
        if tensor.name == "x":
            return (rng.integers(0, 256, (rows, *shape)) / 255).astype(np.float32)
        return rng.normal(size=(rows, *shape)).astype(np.float32)

    return {tensor.name: one(tensor) for tensor in tensors}


def widths(model: LoadedModel, capability: Capability) -> list[int]:
    """The widths that texts are padded to, with the token that a score takes as given; other models have none."""
    text = model.manifest.text
    given = capability in (Capability.LOG_DENSITY, Capability.SCORE)
    return sorted({width_of(n, text.context) + given for n in range(1, text.context + 1)}) if text else [0]


@pytest.mark.parametrize("directory", SHIPPED, ids=lambda d: d.parent.name)
def test_a_row_is_bit_identical_in_any_company(directory: Path) -> None:
    model = load(directory)
    for capability, runner in model.runners.items():
        if not isinstance(runner, RowRunner):
            continue
        for width in widths(model, capability):
            everything = rows_for(model, capability, 12, width)
            tokens = model.manifest.context if model.manifest.pixels else width
            check(runner, capability, everything, LARGE if LARGE * tokens < QUICK else 12)


def check(runner: RowRunner, capability: Capability, everything: Arrays, most: int) -> None:
    def run(rows: np.ndarray) -> Arrays:
        call = RowCall(capability, {name: array[rows] for name, array in everything.items()})
        outputs = runner.run(Batch(LANE, (Piece(Work("a", call, LANE), 0, len(rows)),)))[0][0]
        # Of texts the parts are used: a sum over them depends on the number of rows.
        text = "input_ids" in everything and "log_prob_map" in outputs
        return {"log_prob_map": outputs["log_prob_map"]} if text else outputs

    alone = [run(np.array([i])) for i in range(12)]
    rng = np.random.default_rng(0)
    for size in (2, 3, 4, 6, 8, 12, most):
        if size > runner.max_rows:
            break
        rows = rng.permutation(12)[:size] if size <= 12 else rng.integers(0, 12, size)
        for name, values in run(rows).items():
            for place, row in enumerate(rows):
                assert values[place].tobytes() == alone[row][name][0].tobytes(), (name, size, place)
