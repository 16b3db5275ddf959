"""The runner of rows: padding, buckets, and answers that do not depend on the company a row keeps."""

import threading
import time
from dataclasses import replace

import numpy as np
import onnxruntime as ort
import pytest

from contract import Capability
from service.engine.batch import Batch, Lane, Piece, Work
from service.engine.job import Arrays, RowCall
from service.engine.rows import RowRunner
from service.engine.sizes import BUCKETS, padded
from tests.toys import graphs

LANE = Lane("model", "shape", 64)


def session_of(parts: graphs.Parts) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(parts[0].SerializeToString(), options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def decoder() -> ort.InferenceSession:
    return session_of(graphs.decode())


@pytest.fixture(scope="module")
def denoiser() -> ort.InferenceSession:
    return session_of(graphs.reconstruct())


def batch_of(*calls: Arrays) -> Batch:
    works = [Work(i, RowCall(Capability.DECODE, call), LANE) for i, call in enumerate(calls)]
    return Batch(LANE, tuple(Piece(work, 0, work.call.size) for work in works))


def latents(rng: np.random.Generator, rows: int) -> Arrays:
    return {"z": rng.normal(size=(rows, 4)).astype(np.float32), "label": rng.integers(0, 10, rows)}


def images(rng: np.random.Generator, rows: int) -> Arrays:
    sigma = rng.choice([-1, 0.05, 0.2], rows).astype(np.float32)
    return {"x": rng.normal(size=(rows, 1, 6, 10)).astype(np.float32), "sigma": sigma}


@pytest.mark.parametrize("rows", [1, 3, 5, 16, 33])
def test_padding_is_counted_and_cut_off(denoiser: ort.InferenceSession, rows: int) -> None:
    (answer,), padding = RowRunner(denoiser, "cpu").run(batch_of(images(np.random.default_rng(0), rows)))
    assert answer["x_hat"].shape == (rows, 1, 6, 10)
    assert padding == padded(rows) - rows


def test_a_runner_of_one_size_fills_it(decoder: ort.InferenceSession) -> None:
    runner = RowRunner(decoder, "cpu", buckets=(16,))
    assert runner.max_rows == 16
    for rows in (1, 7, 16):
        (answer,), padding = runner.run(batch_of(latents(np.random.default_rng(0), rows)))
        assert (len(answer["x"]), padding) == (rows, 16 - rows)


def test_the_answer_is_the_graph_s(decoder: ort.InferenceSession) -> None:
    feed = latents(np.random.default_rng(0), 5)
    (answer,), _ = RowRunner(decoder, "cpu").run(batch_of(feed))
    (expected,) = decoder.run(None, feed)
    assert np.allclose(answer["x"], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("graph", "make", "sizes"),
    [("decoder", latents, BUCKETS[1:]), ("denoiser", images, BUCKETS), ("decoder", latents, (16,))],
)
def test_a_row_is_bit_identical_alone_and_in_any_company(
    request: pytest.FixtureRequest, graph: str, make, sizes: tuple[int, ...]
) -> None:
    runner = RowRunner(request.getfixturevalue(graph), "cpu", sizes)
    rng = np.random.default_rng(1)
    everything = make(rng, 48)
    output = "x" if graph == "decoder" else "x_hat"

    def rows(at: np.ndarray) -> Arrays:
        return {name: array[at] for name, array in everything.items()}

    alone = np.concatenate([runner.run(batch_of(rows(np.array([i]))))[0][0][output] for i in range(48)])
    for _ in range(25):
        count = int(rng.integers(1, min(48, runner.max_rows) + 1))
        chosen = rng.permutation(48)[:count]
        cuts = np.sort(rng.integers(0, count, min(3, count - 1)))
        parts = [part for part in np.split(chosen, cuts) if len(part)]
        answers, _ = runner.run(batch_of(*(rows(part) for part in parts)))
        for part, answer in zip(parts, answers, strict=True):
            assert answer[output].tobytes() == alone[part].tobytes()


SEVERAL = replace(LANE, max_rows=1000, at_once=16)


def test_a_batch_of_several_runs_is_bit_identical_to_one_run_whatever_their_size(
    denoiser: ort.InferenceSession,
) -> None:
    runner, rng = RowRunner(denoiser, "cpu"), np.random.default_rng(0)
    calls = [images(rng, rows) for rows in (1, 90, 2, 140)]
    expected = [runner.run(batch_of(call))[0][0]["x_hat"].tobytes() for call in calls]
    whole = replace(batch_of(*calls), lane=SEVERAL)
    sizes = set()
    for _ in range(25):  # all sizes are tried
        answers, padding = runner.run(whole)
        sizes.add(padding)
        assert [answer["x_hat"].tobytes() for answer in answers] == expected
    assert len(sizes) > 1, "batches were cut in more than one way"
    middle = Batch(SEVERAL, (Piece(whole.pieces[3].work, 20, 120),))
    (answer,), _ = runner.run(middle)
    assert answer["x_hat"].tobytes() == expected[3][20 * 240 : 120 * 240]


def test_runs_have_the_one_size_of_a_runner_that_has_one(decoder: ort.InferenceSession) -> None:
    runner, feed = RowRunner(decoder, "cpu", buckets=(16,)), latents(np.random.default_rng(0), 100)
    (answer,), padding = runner.run(replace(batch_of(feed), lane=SEVERAL))
    assert padding == 12
    parts = [runner.run(batch_of({n: a[at : at + 16] for n, a in feed.items()}))[0][0]["x"] for at in range(0, 100, 16)]
    assert np.array_equal(answer["x"], np.concatenate(parts))


def test_a_piece_is_the_rows_that_it_names(decoder: ort.InferenceSession) -> None:
    runner = RowRunner(decoder, "cpu", buckets=(16,))
    call = RowCall(Capability.DECODE, latents(np.random.default_rng(0), 10))
    work = Work("a", call, LANE)
    (whole,), _ = runner.run(Batch(LANE, (Piece(work, 0, 10),)))
    (middle, end), _ = runner.run(Batch(LANE, (Piece(work, 3, 7), Piece(work, 7, 10))))
    assert np.array_equal(middle["x"], whole["x"][3:7])
    assert np.array_equal(end["x"], whole["x"][7:])


def test_an_answer_is_not_overwritten_by_the_next_batch(decoder: ort.InferenceSession) -> None:
    runner, rng = RowRunner(decoder, "cpu"), np.random.default_rng(0)
    kept = []
    for _ in range(4):
        (answer,), _ = runner.run(batch_of(latents(rng, 4)))
        kept.append((answer["x"], answer["x"].copy()))
    for answer, copy in kept:
        assert np.array_equal(answer, copy)
    assert not np.array_equal(kept[0][0], kept[1][0])


def test_shapes_that_alternate_do_not_disturb_each_other(denoiser: ort.InferenceSession) -> None:
    runner, rng = RowRunner(denoiser, "cpu"), np.random.default_rng(0)
    shapes = [(1, 4, 4), (1, 4, 6), (1, 16, 2)] + [(1, 2 * i, 2) for i in range(1, 60)]
    calls = [{"x": rng.random((2, *s)).astype(np.float32), "sigma": np.float32([0.1, -1])} for s in shapes]
    first = [runner.run(batch_of(call))[0][0]["x_hat"] for call in calls]
    again = [runner.run(batch_of(call))[0][0]["x_hat"] for call in calls]
    for a, b, call in zip(first, again, calls, strict=True):
        assert a.shape == call["x"].shape
        assert np.array_equal(a, b)


def test_threads_do_not_share_memory(decoder: ort.InferenceSession) -> None:
    runner = RowRunner(decoder, "cpu", buckets=(16,))
    calls = [latents(np.random.default_rng(seed), 16) for seed in range(4)]
    expected = [runner.run(batch_of(call))[0][0]["x"] for call in calls]
    wrong: list[int] = []

    def work(which: int) -> None:
        for _ in range(100):
            (answer,), _ = runner.run(batch_of(calls[which]))
            if not np.array_equal(answer["x"], expected[which]):
                wrong.append(which)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_failed_batch_leaves_the_runner_sound(denoiser: ort.InferenceSession) -> None:
    """The toy denoiser fails on odd sides."""
    runner, rng = RowRunner(denoiser, "cpu"), np.random.default_rng(0)
    good = images(rng, 3)
    (before,), _ = runner.run(batch_of(good))
    odd = {"x": np.zeros((3, 1, 5, 7), np.float32), "sigma": np.zeros(3, np.float32)}
    for _ in range(2):
        with pytest.raises(Exception, match="block"):
            runner.run(batch_of(odd))
    (after,), _ = runner.run(batch_of(good))
    assert np.array_equal(before["x_hat"], after["x_hat"])


def test_inputs_of_another_dtype_or_layout_are_taken(decoder: ort.InferenceSession) -> None:
    runner, rng = RowRunner(decoder, "cpu", buckets=(16,)), np.random.default_rng(0)
    feed = latents(rng, 4)
    (expected,), _ = runner.run(batch_of(feed))
    other = {"z": np.asfortranarray(feed["z"].astype(np.float64)), "label": feed["label"].astype(np.int32)}
    (answer,), _ = runner.run(batch_of(other))
    assert np.array_equal(answer["x"], expected["x"])


class Told:
    """A session that tells when it runs."""

    def __init__(
        self, session: ort.InferenceSession, name: str, book: list[str], off: float = 0.0, seconds: float = 0.0
    ) -> None:
        self._session, self._name, self._book, self._off, self._seconds = session, name, book, off, seconds

    def __getattr__(self, name: str) -> object:
        return getattr(self._session, name)

    def run_with_iobinding(self, binding: ort.IOBinding) -> None:
        self._book.append(self._name)
        time.sleep(self._seconds)
        self._session.run_with_iobinding(binding)

    def run(self, names: None, feed: Arrays) -> list[np.ndarray]:
        return [output + np.float32(self._off) for output in self._session.run(names, feed)]


class TestWide:
    """A batch that is alone runs on a second session, once there is one that gives the same bits."""

    def ran(
        self,
        denoiser: ort.InferenceSession,
        *,
        alone: bool,
        off: float = 0.0,
        broken: bool = False,
        slow: str = "",
        batches: int = 40,
    ) -> list[str]:
        """Which session ran each of a row of batches."""
        book: list[str] = []
        seconds = {"narrow": 0.0, "wide": 0.0} | ({slow: 0.005} if slow else {})
        asked = threading.Event()

        def widen() -> Told:
            asked.set()
            if broken:
                raise OSError("the file is gone")
            return Told(denoiser, "wide", book, off, seconds["wide"])

        narrow = Told(denoiser, "narrow", book, 0.0, seconds["narrow"])
        runner = RowRunner(narrow, "cpu", widen=widen)  # type: ignore[arg-type]
        batch = replace(batch_of(images(np.random.default_rng(0), 3)), alone=alone)
        (first,), _ = runner.run(batch)
        assert asked.wait(1) == alone
        for thread in threading.enumerate():
            if thread.name == "amostra-widen":
                thread.join()
        for _ in range(batches):
            (answer,), _ = runner.run(batch)
            assert np.array_equal(answer["x_hat"], first["x_hat"])
        return book

    def test_is_tried_and_kept_where_it_is_faster(self, denoiser: ort.InferenceSession) -> None:
        assert self.ran(denoiser, alone=True, slow="narrow")[15:].count("wide") >= 20

    def test_is_left_where_it_is_slower(self, denoiser: ort.InferenceSession) -> None:
        book = self.ran(denoiser, alone=True, slow="wide")
        assert "wide" in book
        assert book[15:].count("narrow") >= 20

    def test_is_tried_again_now_and_then(self, denoiser: ort.InferenceSession) -> None:
        book = self.ran(denoiser, alone=True, slow="wide", batches=500)
        assert 3 <= book[20:].count("wide") <= 15, "a run in a hundred, and where this machine is slow for a while"

    def test_is_not_made_for_a_crowd(self, denoiser: ort.InferenceSession) -> None:
        assert set(self.ran(denoiser, alone=False)) == {"narrow"}

    def test_is_not_used_where_its_bits_differ(self, denoiser: ort.InferenceSession) -> None:
        assert set(self.ran(denoiser, alone=True, off=1e-6)) == {"narrow"}

    def test_is_done_without_where_it_cannot_be_made(self, denoiser: ort.InferenceSession) -> None:
        assert set(self.ran(denoiser, alone=True, broken=True)) == {"narrow"}
