"""What no machine without a GPU can say: that CUDA takes what it is given, and what its bits depend on."""

import logging
from pathlib import Path

import numpy as np
import pytest

from contract import Capability
from service.engine.batch import Batch, Lane, Piece, Work
from service.engine.job import Arrays, RowCall
from service.engine.rows import RowRunner
from service.loading import example_rows
from service.model import LoadedModel
from service.providers import CUDA, TENSORRT, find_device, fixed_shapes

STORE = Path(__file__).parents[2] / "exported"
MODELS = sorted(p.parent for p in STORE.glob("*/*/manifest.json"))
LANE = Lane("model", "shape", 64)
TOLERANCE = 1e-2
"""Of a shipped model's outputs against the CPU's, relative to their size."""


def batch_of(*calls: Arrays) -> Batch:
    works = [Work(i, RowCall(Capability.DECODE, call), LANE) for i, call in enumerate(calls)]
    return Batch(LANE, tuple(Piece(work, 0, work.call.size) for work in works))


def rows_of(model: LoadedModel, capability: Capability, rows: int, seed: int) -> Arrays:
    rng = np.random.default_rng(seed)
    graph = model.manifest.capabilities[capability]
    return {t.name: example_rows(t, model.manifest, rows, rng) for t in graph.inputs}


def graphs_of(model: LoadedModel) -> list[tuple[Capability, RowRunner]]:
    return [(c, r) for c, r in model.runners.items() if isinstance(r, RowRunner)]


@pytest.mark.parametrize("directory", MODELS, ids=lambda path: path.parent.name)
def test_a_shipped_model_gives_on_a_gpu_what_it_gives_on_a_cpu(directory: Path, on_gpu) -> None:
    there, here = on_gpu(directory, precision="float32"), on_gpu(directory, provider="cpu")
    for capability, runner in graphs_of(there):
        assert there.providers[capability] == CUDA
        feed = rows_of(there, capability, 5, 1)
        (found,), _ = runner.run(batch_of(feed))
        (expected,), _ = here.runners[capability].run(batch_of(feed))
        for name, value in expected.items():
            scale = max(1.0, float(np.abs(value).max()))
            assert np.abs(found[name] - value).max() <= TOLERANCE * scale, (capability, name)


@pytest.mark.parametrize("directory", MODELS, ids=lambda path: path.parent.name)
def test_a_row_s_bits_do_not_depend_on_its_batch(directory: Path, on_gpu) -> None:
    model = on_gpu(directory)
    for capability, runner in graphs_of(model):
        for seed in range(3):
            feed = rows_of(model, capability, min(40, runner.max_rows), seed + 10)
            (whole,), _ = runner.run(batch_of(feed))
            for row in (0, len(next(iter(feed.values()))) - 1):
                (alone,), _ = runner.run(batch_of({n: a[row : row + 1] for n, a in feed.items()}))
                assert all(alone[n].tobytes() == whole[n][row : row + 1].tobytes() for n in whole), capability


@pytest.mark.parametrize("directory", MODELS, ids=lambda path: path.parent.name)
def test_cuda_graphs_change_no_bit(directory: Path, on_gpu, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "amostra.loading"):
        with_graphs = on_gpu(directory)
    without = on_gpu(directory, cuda_graphs="off")
    for capability, runner in graphs_of(with_graphs):
        feed = rows_of(with_graphs, capability, min(7, runner.max_rows), 5)
        (found,), _ = runner.run(batch_of(feed))
        (expected,), _ = without.runners[capability].run(batch_of(feed))
        assert all(found[n].tobytes() == expected[n].tobytes() for n in expected), capability


def test_the_default_generator_is_recorded(on_gpu, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "amostra.loading"):
        on_gpu(STORE / "mnist-gan" / "1")
    assert "without CUDA graphs" not in caplog.text


def test_tensorrt_runs_what_may_be_rounded(on_gpu, tmp_path: Path) -> None:
    try:
        find_device("tensorrt")
    except RuntimeError as error:
        pytest.skip(str(error))
    for directory in MODELS:
        model = on_gpu(directory, provider="tensorrt", tensorrt_cache=tmp_path)
        for capability, _ in graphs_of(model):
            graph = model.manifest.capabilities[capability]
            rounds = graph.float16 is not None and graph.float16.max_abs_diff <= graph.float16.tolerance
            assert model.providers[capability] == (TENSORRT if rounds and fixed_shapes(graph) else CUDA)
