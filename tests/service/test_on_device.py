"""Runners of a device: which batch sizes they keep, and when they replay CUDA graphs."""

import logging

import numpy as np
import pytest

from contract import Capability
from service.engine.batch import Batch, Lane, Piece, Work
from service.engine.job import RowCall
from service.engine.rows import RowRunner
from service.on_device import device_runner
from service.providers import CUDA, TENSORRT
from tests.service.engine.sessions import Booked, braked, latents, plainly
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
