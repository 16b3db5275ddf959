"""What no machine without a GPU can say: that CUDA takes what it is given, and what its bits depend on."""

import logging
from pathlib import Path

import numpy as np
import pytest

from benchmarks.in_process import InProcess
from benchmarks.models import CHARACTERS, SMALL, text_model
from contract import Capability
from service.engine.batch import Batch, Lane, Piece, Work
from service.engine.job import Arrays, RowCall, Sampling
from service.engine.rows import RowRunner
from service.engine.sequences import SequenceRunner
from service.loading import example_rows
from service.model import LoadedModel
from service.providers import CUDA, TENSORRT, find_device, fixed_shapes
from service.settings import Settings
from service.tasks import complete

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


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text model of random weights, exported here: the shipped ones are from before attention in float16 was measured."""
    return text_model(tmp_path_factory.mktemp("texts"), SMALL)[0]


def test_text_gives_on_a_gpu_what_it_gives_on_a_cpu(texts: Path, on_gpu) -> None:
    there, here = on_gpu(texts), on_gpu(texts, provider="cpu")
    graph = there.manifest.capabilities[Capability.NEXT_TOKEN]
    assert there.providers[Capability.NEXT_TOKEN] == CUDA
    ids = np.random.default_rng(0).integers(1, len(CHARACTERS), (1, 40))
    found = []
    for model in (there, here):
        runner = model.runners[Capability.NEXT_TOKEN].parts[0]
        assert isinstance(runner, SequenceRunner)
        logits = [runner._graph.prompt(0, ids[:, :30], 30).copy()]
        for at in range(30, 40):
            runner._graph.begin_steps(ids[0, at : at + 1], np.array([at]), alone=False)
            logits.append(runner._graph.step().copy())
        found.append(np.concatenate(logits))
    assert graph.float16 is not None
    assert np.abs(found[0] - found[1]).max() <= graph.float16.tolerance


def test_a_text_on_a_gpu_is_as_it_is_alone_and_as_it_is_without_cuda_graphs(texts: Path) -> None:
    rng = np.random.default_rng(1)
    asks = [
        complete.Request(rng.integers(1, len(CHARACTERS), 3 + 5 * i), "", 0, i, 10 + 7 * i, Sampling())
        for i in range(12)
    ]
    written = []
    for cuda_graphs in ("auto", "off"):
        with InProcess(texts, Settings(provider="cuda", cuda_graphs=cuda_graphs)) as engine:
            for together in (asks, *([ask] for ask in asks)):
                ended = engine.run([(complete.complete(engine.model, ask), ask.work) for ask in together])
                written.append([each.result.text for each in ended])
    crowd, *alone = written[: 1 + len(asks)]
    assert [text for (text,) in alone] == crowd
    assert written[1 + len(asks) :] == written[: 1 + len(asks)]


def test_steps_of_text_are_recorded(texts: Path, on_gpu, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "amostra.loading"):
        on_gpu(texts)
    assert "without CUDA graphs" not in caplog.text
