"""Batches on a device: the bits of a plain run, memory that is bound once, and the numbers of CUDA graphs."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from service.engine.batch import Batch, Lane, Piece, Work
from service.engine.brake import Brake, BrakedSession
from service.engine.device import DeviceMemory, agreeing, same_bits
from service.engine.job import Arrays, RowCall
from service.engine.rows import KEPT_ELEMENTS, RowRunner
from service.engine.sizes import BUCKETS
from service.providers import CUDA, Capability
from tests.service.engine.sessions import Booked, braked, latents, plainly
from tests.toys import graphs

LANE = Lane("model", "shape", 256)


@pytest.fixture(scope="module")
def decoder() -> BrakedSession:
    return braked(graphs.decode())


@pytest.fixture(scope="module")
def denoiser() -> BrakedSession:
    return braked(graphs.reconstruct())


def images(rows: int, height: int = 6, width: int = 10) -> Arrays:
    rng = np.random.default_rng(rows)
    return {"x": rng.random((rows, 1, height, width)).astype(np.float32), "sigma": rng.random(rows).astype(np.float32)}


def batch_of(*calls: Arrays) -> Batch:
    works = [Work(i, RowCall(Capability.DECODE, call), LANE) for i, call in enumerate(calls)]
    return Batch(LANE, tuple(Piece(work, 0, work.call.size) for work in works))


@pytest.mark.parametrize("size", BUCKETS)
def test_every_batch_size_has_the_bits_of_a_plain_run(decoder: BrakedSession, size: int) -> None:
    memory = DeviceMemory(decoder, "cpu")
    for seed in range(3):  # the second time the outputs have their place, the third all is as it will stay
        feed = latents(size, seed)
        assert same_bits(memory.run(feed), plainly(decoder, feed))


def test_recorded_batches_have_the_bits_of_a_plain_run(decoder: BrakedSession) -> None:
    memory = DeviceMemory(decoder, "cpu")
    for size in (1, 4, 16):
        memory.record(latents(size, 99))
        for seed in range(3):
            feed = latents(size, seed)
            assert same_bits(memory.run(feed), plainly(decoder, feed))


def test_a_runner_of_rows_gives_the_same_bits_on_a_device(decoder: BrakedSession) -> None:
    here, there = RowRunner(decoder, "cpu"), RowRunner(decoder, DeviceMemory(decoder, "cpu"))
    for rows in (1, 3, 5, 64):
        batch = batch_of(latents(rows, 1), latents(2, 2))
        expected, padding = here.run(batch)
        found, padded = there.run(batch)
        assert padding == padded
        for a, b in zip(found, expected, strict=True):
            assert same_bits(a, b)


def test_outputs_are_the_caller_s(decoder: BrakedSession) -> None:
    memory = DeviceMemory(decoder, "cpu")
    kept = [memory.run(latents(4, seed))["x"] for seed in range(4)]
    for seed, output in enumerate(kept):
        assert np.array_equal(output, plainly(decoder, latents(4, seed))["x"])


def test_memory_of_a_shape_is_bound_once_and_used_again(decoder: BrakedSession) -> None:
    booked = Booked(decoder, CUDA)
    memory = DeviceMemory(booked, "cpu")  # type: ignore[arg-type]
    for size in (4, 8, 4, 4, 8):
        memory.run(latents(size))
    assert booked.bound == 2 * 2  # two shapes of two inputs
    first, _, again, third, _ = booked.runs
    assert first[1] == again[1] == third[1]
    assert first[2] == ("cpu",)  # the runtime's own choice, which tells the output's shape
    assert again[2] == third[2] != first[2]
    assert booked.steps[:3] == ["synchronize", "run", "copy"]
    assert set(booked.numbers) == {-1}


def test_each_recorded_shape_has_a_number_and_addresses_of_its_own(decoder: BrakedSession) -> None:
    booked = Booked(decoder, CUDA)
    memory = DeviceMemory(booked, "cpu")  # type: ignore[arg-type]
    for size in (2, 4):
        memory.record(latents(size))
    assert booked.numbers == [-1, 1, 1, -1, 2, 2]
    booked.runs.clear()
    for size in (4, 2, 4, 3):
        memory.run(latents(size))
    assert booked.numbers == [2, 1, 2, -1]  # nothing was recorded for 3
    assert booked.runs[0] == booked.runs[2]
    assert booked.runs[0][1:] != booked.runs[1][1:]


def test_recorded_memory_is_never_given_up(denoiser: BrakedSession) -> None:
    booked = Booked(denoiser, CUDA)
    memory = DeviceMemory(booked, "cpu")  # type: ignore[arg-type]
    memory.record(images(1))
    recorded = booked.runs[-1]
    for width in range(2, 100, 2):
        memory.run(images(1, 4, width))
    memory.run(images(1))
    assert booked.runs[-1] == recorded


def test_shapes_that_are_too_many_or_too_large_are_not_kept(denoiser: BrakedSession) -> None:
    booked = Booked(denoiser, CUDA)
    memory = DeviceMemory(booked, "cpu")  # type: ignore[arg-type]
    widths = range(2, 82, 2)
    for width in widths:
        memory.run(images(1, 4, width))
    memory.run(images(1, 4, widths[-1]))
    assert booked.bound == 2 * len(widths)
    memory.run(images(1, 4, widths[0]))
    assert booked.bound == 2 * len(widths) + 2
    large = images(1, 1024, KEPT_ELEMENTS // 1024)
    memory.run(large)
    memory.run(large)
    assert booked.bound == 2 * len(widths) + 6


def test_all_runs_are_on_one_thread(decoder: BrakedSession) -> None:
    seen = set()

    class Told(Booked):
        def run_with_iobinding(self, binding, options) -> None:
            seen.add(threading.get_ident())
            super().run_with_iobinding(binding, options)

    memories = [DeviceMemory(Told(decoder, CUDA), "cpu") for _ in range(2)]  # type: ignore[arg-type]
    memories[0].record(latents(2))
    with ThreadPoolExecutor(4) as workers:
        answers = list(workers.map(lambda seed: memories[seed % 2].run(latents(2, seed)), range(40)))
    for seed, answer in enumerate(answers):
        assert same_bits(answer, plainly(decoder, latents(2, seed)))
    assert len(seen) == 1


def test_a_failed_batch_leaves_the_memory_sound(denoiser: BrakedSession) -> None:
    """The toy denoiser fails on odd sides."""
    memory = DeviceMemory(denoiser, "cpu")
    before = memory.run(images(3))
    for _ in range(2):
        with pytest.raises(Exception, match="block"):
            memory.run(images(3, 5, 7))
    assert same_bits(memory.run(images(3)), before)


def test_a_brake_ends_recorded_runs_too(decoder: BrakedSession) -> None:
    session = braked(graphs.decode())
    memory = DeviceMemory(session, "cpu")
    memory.record(latents(2))
    session.brake.pull()
    for size in (2, 3):
        with pytest.raises(Exception, match="terminate"):
            memory.run(latents(size))


def test_options_made_after_the_brake_was_pulled_are_pulled_too() -> None:
    brake = Brake()
    brake.pull()
    assert brake.options_of(1).terminate


class TestAgreeing:
    """Batch sizes whose rows have the bits that they have in the largest."""

    FEED = latents(8)
    SIZES = (1, 2, 4, 8)

    def test_all_where_rows_do_not_depend_on_their_batch(self, decoder: BrakedSession) -> None:
        assert agreeing(DeviceMemory(decoder, "cpu").run, self.FEED, self.SIZES) == self.SIZES

    def test_not_those_that_take_another_kernel(self) -> None:
        def run(feed: Arrays) -> Arrays:
            off = np.float32(1e-7) if len(feed["z"]) < 4 else np.float32(0)
            return {"x": feed["z"] + off}

        assert agreeing(run, self.FEED, self.SIZES) == (4, 8)

    def test_only_the_largest_where_every_size_has_its_own_kernel(self) -> None:
        assert agreeing(lambda feed: {"x": feed["z"] / len(feed["z"])}, self.FEED, self.SIZES) == (8,)

    def test_only_1_where_a_row_s_place_counts(self) -> None:
        def run(feed: Arrays) -> Arrays:
            return {"x": feed["z"] * np.arange(1, len(feed["z"]) + 1, dtype=np.float32)[:, None]}

        assert agreeing(run, self.FEED, self.SIZES) == (1,)

    def test_bits_are_compared_not_numbers(self) -> None:
        assert same_bits({"x": np.float32([np.nan])}, {"x": np.float32([np.nan])})
        assert not same_bits({"x": np.float32([0.0])}, {"x": np.float32([-0.0])})
