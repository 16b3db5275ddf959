"""Runners of a device: which batch sizes they keep, and when they replay CUDA graphs."""

import logging

import numpy as np
import pytest

from contract import Capability
from contract.kernels import halve_attention
from service.engine.batch import Batch, Lane, Piece, Work
from service.engine.device_text import DeviceTokenGraph, mover_of
from service.engine.job import RowCall
from service.engine.rows import RowRunner
from service.on_device import device_runner, device_sequences
from service.providers import CUDA, TENSORRT
from tests.service.engine.sessions import Booked, braked, latents, plainly
from tests.service.engine.test_device_text import HERE, Spied, halved, on_device, opened
from tests.service.engine.test_sequences import CONTEXT, Writer, language, write
from tests.toys import graphs

LANE = Lane("model", "shape", 64)
SIZES = (1, 2, 4)


def answer(runner: RowRunner, rows: int) -> tuple[np.ndarray, int]:
    """What a batch of so many rows gives, and how many more there were."""
    work = Work("a", RowCall(Capability.DECODE, latents(rows)), LANE)
    ((found,), padding) = runner.run(Batch(LANE, (Piece(work, 0, rows),)))
    return found["x"], padding


class Made:
    """A runner made of sessions that keep a book: one without CUDA graphs, and one with."""

    def __init__(
        self, provider: str = CUDA, *, fixed: bool = True, graphs_too: bool = True, **recorded: object
    ) -> None:
        self.eager = Booked(braked(graphs.decode()), provider)
        self.recording = Booked(braked(graphs.decode()), provider, **recorded)  # type: ignore[arg-type]
        self.opened = 0
        self.runner = device_runner(
            "toy", self.eager, "cpu", latents(4), SIZES, fixed=fixed, recorded=self.open if graphs_too else None
        )  # type: ignore[arg-type]
        self.eager.runs.clear()
        self.recording.runs.clear()

    def open(self) -> Booked:
        self.opened += 1
        return self.recording

    def runs_right(self) -> bool:
        """Whether batches of some sizes have the bits of a plain run."""
        plain = braked(graphs.decode())
        return all(np.array_equal(answer(self.runner, n)[0], plainly(plain, latents(n))["x"]) for n in (1, 2, 3, 4))


def test_sizes_that_agree_are_replayed() -> None:
    made = Made()
    assert made.runs_right()
    assert made.recording.numbers == [1, 2, 3, 3]
    assert made.eager.runs == []
    assert answer(made.runner, 3)[1] == 1


@pytest.mark.parametrize(
    ("fault", "says"), [({"refuses": 2}, "CUDA failure 900"), ({"wrong": True}, "a batch of 1 has other bits")]
)
def test_what_cannot_be_recorded_runs_without_and_is_logged(
    caplog: pytest.LogCaptureFixture, fault: dict, says: str
) -> None:
    with caplog.at_level(logging.WARNING, "amostra.loading"):
        made = Made(**fault)
    assert made.runs_right()
    assert set(made.eager.numbers) == {-1}
    assert made.recording.runs == []
    assert says in caplog.text
    assert "toy: runs without CUDA graphs" in caplog.text


def test_a_session_that_cannot_be_opened_for_recording_is_done_without(caplog: pytest.LogCaptureFixture) -> None:
    def refused() -> Booked:
        raise RuntimeError("the model has control flow nodes")

    eager = Booked(braked(graphs.decode()), CUDA)
    runner = device_runner("toy", eager, "cpu", latents(4), SIZES, fixed=True, recorded=refused)  # type: ignore[arg-type]
    assert answer(runner, 2)[1] == 0
    assert "control flow" in caplog.text


@pytest.mark.parametrize("made", [{"graphs_too": False}, {"provider": TENSORRT}])
def test_nothing_is_recorded_where_it_is_off_or_tensorrt_s_affair(made: dict) -> None:
    without = Made(**made)
    assert without.opened == 0
    assert without.runs_right()
    assert set(without.eager.numbers) == {-1}


def test_free_shapes_run_row_by_row_and_are_not_recorded() -> None:
    made = Made(fixed=False)
    assert (made.opened, made.runner.max_rows) == (0, 1)
    assert np.array_equal(answer(made.runner, 1)[0], plainly(made.eager._session, latents(1))["x"])


def test_sizes_that_disagree_are_not_used(caplog: pytest.LogCaptureFixture) -> None:
    class Choosy(Booked):
        """Takes another kernel for a row alone."""

        def run_with_iobinding(self, binding, options) -> None:
            super().run_with_iobinding(binding, options)
            (value,) = binding.binding.get_outputs()
            if value.shape()[0] == 1:
                value.update_inplace(value.numpy() + np.float32(1e-6))

    session = Choosy(braked(graphs.decode()), CUDA)
    with caplog.at_level(logging.INFO, "amostra.loading"):
        runner = device_runner("toy", session, "cpu", latents(4), SIZES, fixed=True, recorded=None)  # type: ignore[arg-type]
    assert "same bits in batches of 2, 4 only" in caplog.text
    assert answer(runner, 1)[1] == 1


class TestText:
    def test_what_writes_what_it_writes_on_the_cpu_is_run_there(self) -> None:
        graph = on_device()
        runner = device_sequences("toy", lambda: graph, chunk=8, tolerance=2e-2, recorded=None)
        assert runner is not None
        assert runner.rows is graph.rows
        assert (runner.slots, runner.context) == (4, CONTEXT)
        writers = [Writer([1, 2, 3], 9, np.linspace(0.1, 0.9, 40)) for _ in range(2)]
        for slots, writer in enumerate(writers):
            write([writer], graph=HERE, company=False, reuse=False, there=on_device() if slots else graph)
        assert writers[0].said() == writers[1].said()

    @pytest.mark.parametrize("tolerance", [0.0, 1e-6])
    def test_logits_that_are_too_far_from_the_cpu_s_stay_there(
        self, tolerance: float, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert device_sequences("toy", on_device, chunk=8, tolerance=tolerance, recorded=None) is None
        assert "toy: text stays on the CPU: its logits differ from the CPU's by" in caplog.text

    def test_logits_that_are_no_numbers_stay_there(self, caplog: pytest.LogCaptureFixture) -> None:
        own = language()
        own.embedding[1] = np.nan
        model = graphs.next_token(own)[0]
        halve_attention(model)
        there = opened(model)
        graph = DeviceTokenGraph(HERE, there, opened(mover_of(there, CONTEXT)), 2, CONTEXT, "cpu")
        assert device_sequences("toy", lambda: graph, chunk=8, tolerance=1e9, recorded=None) is None
        assert "differ from the CPU's by nan" in caplog.text

    def test_rows_that_depend_on_each_other_stay_there(self, caplog: pytest.LogCaptureFixture) -> None:
        there = Spied(halved())
        graph = on_device(there)

        def mixed() -> None:
            logits = graph._logits.numpy()
            graph._logits.update_inplace(logits + np.float32(1e-6) * logits[-1:])

        there.after = mixed
        assert device_sequences("toy", lambda: graph, chunk=8, tolerance=1e-1, recorded=None) is None
        assert "a row's bits depend on its place, or on the others" in caplog.text

    def test_a_graph_that_the_device_cannot_run_stays_there(self, caplog: pytest.LogCaptureFixture) -> None:
        there = Spied(halved())
        graph = on_device(there)
        there.fault = RuntimeError("no kernel image is available")
        assert device_sequences("toy", lambda: graph, chunk=8, tolerance=1e-1, recorded=None) is None
        assert "no kernel image" in caplog.text

    def test_where_the_device_has_no_room_it_stays_there(self, caplog: pytest.LogCaptureFixture) -> None:
        def full() -> DeviceTokenGraph:
            raise RuntimeError("CUDA failure 2: out of memory")

        assert device_sequences("toy", full, chunk=8, tolerance=1e-1, recorded=None) is None
        assert "out of memory" in caplog.text

    @pytest.mark.parametrize("refused", [False, True])
    def test_steps_are_recorded_on_cuda_where_that_can_be(
        self, refused: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        there, recorded = Spied(halved()), Spied(halved())
        monkeypatch.setattr(there, "get_providers", lambda: [CUDA])
        if refused:
            recorded.fault = RuntimeError("the model has control flow nodes")
        runner = device_sequences("toy", lambda: on_device(there), chunk=8, tolerance=2e-2, recorded=lambda: recorded)
        assert runner is not None
        steps = len(recorded.numbers)
        runner.warm()
        assert len(recorded.numbers) - steps == (0 if refused else 1)
        assert ("toy: runs without CUDA graphs: the model has control flow nodes" in caplog.text) == refused

    def test_nothing_is_recorded_elsewhere(self) -> None:
        recorded = Spied(halved())
        assert device_sequences("toy", on_device, chunk=8, tolerance=2e-2, recorded=lambda: recorded) is not None
        assert recorded.numbers == []
