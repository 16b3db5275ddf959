"""A text graph on a device: what it gives is what the same graph gives elsewhere, whoever takes a step beside whom."""

import threading
from collections.abc import Callable

import numpy as np
import onnx
import pytest

from contract.kernels import choose_kernels, halve_attention
from service.engine.brake import Brake, BrakedSession
from service.engine.device_text import DeviceTokenGraph, mover_of
from service.engine.held_rows import Rows
from service.engine.sequences import SequenceRunner
from service.engine.token_graph import TokenGraph
from tests.service.engine.sessions import options
from tests.service.engine.test_sequences import CONTEXT, POISON, Writer, copy, language, random_writer, write
from tests.toys import graphs

SLOTS = 4


def opened(model: onnx.ModelProto | bytes) -> BrakedSession:
    choose_kernels()
    blob = model if isinstance(model, bytes) else model.SerializeToString()
    return BrakedSession(Brake(), blob, options(), providers=["CPUExecutionProvider"])


def halved() -> onnx.ModelProto:
    model = graphs.next_token(language())[0]
    halve_attention(model)
    return model


HERE, THERE = opened(graphs.next_token(language())[0]), opened(halved())
"""In float32, and with attention in float16, as on a GPU."""


def on_device(there: BrakedSession = THERE, slots: int = SLOTS) -> DeviceTokenGraph:
    return DeviceTokenGraph(HERE, there, opened(mover_of(there, CONTEXT)), slots, CONTEXT, "cpu")


def elsewhere(slots: int = SLOTS) -> TokenGraph:
    return TokenGraph(THERE, Rows(THERE, 0, slots, CONTEXT), 0, None)


def prompt_of(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, POISON, (1, size))


def written(graph: DeviceTokenGraph | TokenGraph, lengths: list[int], steps: int = 5) -> list[np.ndarray]:
    """The logits of prompts of these lengths, and of steps behind them, greedily."""
    found = [graph.prompt(row, prompt_of(size, row), size).copy() for row, size in enumerate(lengths)]
    graph.begin_steps(np.arange(len(lengths)), np.array(lengths), alone=False)
    for _ in range(steps):
        found.append(graph.step().copy())
        graph.feed(found[-1].argmax(-1))
    graph.end_steps(steps)
    return found


@pytest.mark.parametrize("lengths", [[3], [9, 2], [2, 17, 5, 26]])
def test_prompts_and_steps_have_the_bits_of_the_same_graph_elsewhere(lengths: list[int]) -> None:
    for found, expected in zip(written(on_device(), lengths), written(elsewhere(), lengths), strict=True):
        assert np.array_equal(found, expected)


def test_a_row_has_the_same_bits_whoever_is_beside_it() -> None:
    alone, among = (written(on_device(), lengths) for lengths in ([6], [6, 20, 3]))
    assert np.array_equal(alone[0], among[0])
    for own, all_of_them in zip(alone[1:], among[3:], strict=True):
        assert np.array_equal(own, all_of_them[:1])


def test_steps_leave_those_that_rest_and_a_prompt_under_way_alone() -> None:
    expected = written(on_device(), [4, 7, 12])[3:]
    graph = on_device()
    for row, size in enumerate([4, 7, 12]):
        graph.prompt(row, prompt_of(size, row)[:, : size - 2], size - 2)
        graph.rows.length[row] = size - 2
        graph.begin_steps(np.array([1]), np.array([0]), alone=False)  # in the first row, that is begun anew below
        graph.step()
    for row, size in enumerate([4, 7, 12]):
        start = 0 if row == 0 else size - 2
        graph.prompt(row, prompt_of(size, row)[:, start:], size)
    graph.begin_steps(np.arange(3), np.array([4, 7, 12]), alone=False)
    assert np.array_equal(graph.step(), expected[0])


@pytest.mark.parametrize(("a", "b"), [(0, 1), (3, 0), (2, 2)])
def test_rows_change_places(a: int, b: int) -> None:
    graph, same = on_device(), on_device()
    for row, size in enumerate([4, 7, 12, 5]):
        for each in (graph, same):
            each.prompt(row, prompt_of(size, row), size)
            each.rows.length[row] = size
    graph.rows.swap(a, b)
    order = np.arange(SLOTS)
    order[[a, b]] = order[[b, a]]
    assert graph.rows.length.tolist() == same.rows.length[order].tolist()
    for each in (graph, same):
        ids = np.arange(SLOTS) if each is same else order
        each.begin_steps(ids, each.rows.length, alone=False)
    assert np.array_equal(graph.step(), same.step()[order])


def test_a_full_row_that_nobody_steps_is_not_written_beyond_its_end() -> None:
    graph, alone = on_device(), on_device()
    for each in (graph, alone):
        each.prompt(0, prompt_of(5), 5)
        each.rows.length[0] = 5
    graph.prompt(1, prompt_of(CONTEXT), CONTEXT)
    graph.rows.length[1] = CONTEXT
    for each in (graph, alone):
        each.begin_steps(np.array([1]), np.array([5]), alone=False)
    assert np.array_equal(graph.step(), alone.step())


def run(writers: list[Writer], graph: DeviceTokenGraph | None, slots: int = SLOTS) -> list[list[tuple[int, float]]]:
    """What each says, by a runner on a device, or by one elsewhere of the same graph."""
    twins = [copy(writer) for writer in writers]
    for twin, writer in zip(twins, writers, strict=True):
        twin.arrives, twin.leaves, twin.priority = writer.arrives, writer.leaves, writer.priority
    session = HERE if graph is not None else THERE
    write(twins, slots, graph=session, company=False, reuse=False, there=graph)
    return [twin.said() for twin in twins]


@pytest.mark.parametrize("seed", range(4))
def test_texts_are_those_of_the_same_graph_elsewhere_whoever_comes_and_leaves(seed: int) -> None:
    rng = np.random.default_rng(seed)
    writers = []
    for _ in range(20):
        arrives = int(rng.integers(0, 40))
        leaves = arrives + int(rng.integers(0, 25)) if rng.random() < 0.25 else None
        writers.append(random_writer(rng, arrives=arrives, leaves=leaves, priority=int(rng.integers(2))))
    assert run(writers, on_device()) == run(writers, None)


def test_a_text_is_as_it_is_alone() -> None:
    writers = [random_writer(np.random.default_rng(seed)) for seed in range(8)]
    assert run(writers, on_device()) == [said for writer in writers for said in run([writer], on_device())]


def test_calls_that_bring_their_own_keys_and_values_run_on_the_cpu() -> None:
    runner = SequenceRunner(HERE, SLOTS, CONTEXT, reuse=False, there=on_device())
    assert runner._graph.session is HERE
    assert runner.bytes == runner.rows.memory.nbytes
    assert runner.bytes == (SLOTS + 1) * 2 * 2 * CONTEXT * 16 * 2  # layers, keys and values, float16


class Spied(BrakedSession):
    """Says what it does, and on which thread; `fault` is raised by its next run."""

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__(Brake(), model.SerializeToString(), options(), providers=["CPUExecutionProvider"])
        self.threads: list[str] = []
        self.numbers: list[str] = []
        self.fault: Exception | None = None
        self.after: Callable[[], None] = lambda: None

    def run_with_iobinding(self, iobinding, run_options=None) -> None:
        self.threads.append(threading.current_thread().name)
        self.numbers.append((run_options or self.brake.options).get_run_config_entry("gpu_graph_id"))
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault
        super().run_with_iobinding(iobinding, run_options)
        self.after()


def test_all_runs_are_on_the_device_s_thread() -> None:
    there = Spied(halved())
    written(on_device(there), [3, 4])
    assert {name.rsplit("_", 1)[0] for name in there.threads} == {"amostra-device"}
    assert set(there.numbers) == {"-1"}


def test_a_step_that_fails_fails_all_rows_and_the_next_one_does_not() -> None:
    there = Spied(halved())
    graph = on_device(there)
    writers = [Writer([1, 2, 3], 6, np.linspace(0.1, 0.9, 40)), Writer([4, 5], 6, np.linspace(0.1, 0.9, 40))]
    for writer in writers:
        graph.prompt(0, np.array([writer.prompt]), len(writer.prompt))
    there.fault = RuntimeError("CUDA failure 700")
    runner = SequenceRunner(HERE, SLOTS, CONTEXT, reuse=False, there=graph)
    graph.begin_steps(np.array([1, 2]), np.array([3, 2]), alone=False)
    logits, failed = runner._graph.step_alone(there.fault)
    assert logits.shape == (2, graph.vocabulary)
    assert failed == {0: there.fault, 1: there.fault}
    with pytest.raises(RuntimeError, match="700"):
        graph.step()
    assert np.isfinite(graph.step()).all()


def test_a_step_is_recorded_once_and_replayed_at_the_same_addresses() -> None:
    recorded = Spied(halved())
    graph = on_device()
    graph.record(recorded)
    assert recorded.numbers == ["1", "1"]
    for found, expected in zip(written(graph, [5, 2]), written(elsewhere(), [5, 2]), strict=True):
        assert np.array_equal(found, expected)
    assert recorded.numbers == ["1"] * 7  # prompts are none of it


@pytest.mark.parametrize("wrong", [True, False])
def test_what_cannot_be_recorded_or_has_other_bits_steps_as_before(wrong: bool) -> None:
    recorded, graph = Spied(halved()), on_device()
    if wrong:
        recorded.after = lambda: graph._logits.update_inplace(graph._logits.numpy() + np.float32(1e-3))
    else:
        recorded.fault = RuntimeError("operation not permitted when stream is capturing")
    with pytest.raises(ValueError if wrong else RuntimeError, match="other bits" if wrong else "capturing"):
        graph.record(recorded)
    runs = len(recorded.numbers)
    for found, expected in zip(written(graph, [5, 2]), written(elsewhere(), [5, 2]), strict=True):
        assert np.array_equal(found, expected)
    assert len(recorded.numbers) == runs
