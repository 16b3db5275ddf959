"""A batch that hangs: its jobs end with an error, its model runs no more, and everybody else is served on."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from contract import Capability
from service.engine.batch import INTERACTIVE, Batch, Lane
from service.engine.job import Job, RowCall, SequenceCall
from service.engine.loop import Engine
from service.engine.sequences import Progress, SequenceRunner
from service.engine.ticket import Model, Ticket
from service.engine.watchdog import FAR, Run, Watchdog
from service.errors import ModelFailed, NotReady
from service.loading import load_model
from service.model import LoadedModel
from service.settings import Settings
from tests.eventually import eventually
from tests.service.engine.fake_models import Book, FakeModel, doubling, repeated, running
from tests.toys import graphs
from tests.toys.hanging import ENDLESS, HANGS, STUCK, write_hanging

SECONDS = 0.2


class Looked:
    """A watchdog that looks when it is told to, and what it found."""

    def __init__(self, seconds: float) -> None:
        self.hung: list[Run] = []
        self.lost: list[Run] = []
        self.dog = Watchdog(seconds, self.hung.append, self.lost.append, here_seconds=3.0)

    def begin(self, expected: float = 0.0, *, here: bool = False) -> Run:
        return self.dog.begin(Batch(Lane("queue", "key", 1)), FakeModel(), expected, here=here)


class TestLooking:
    def test_what_ends_in_time_hangs_never(self) -> None:
        looked = Looked(10.0)
        run = looked.begin()
        looked.dog.look(9.0)
        assert looked.dog.end(run)
        looked.dog.look(100.0)
        assert (looked.hung, looked.lost) == ([], [])

    def test_what_takes_too_long_is_told_once_and_then_lost(self) -> None:
        looked = Looked(10.0)
        run = looked.begin()
        for _ in range(11):
            looked.dog.look(1.0)
        assert (looked.hung, looked.lost) == ([run], [])
        looked.dog.look(5.0)
        looked.dog.look(5.0)
        assert (looked.hung, looked.lost) == ([run], [run])
        assert not looked.dog.end(run), "it belongs to whoever was told"

    def test_what_ends_after_it_was_told_to_is_not_lost(self) -> None:
        looked = Looked(10.0)
        run = looked.begin()
        looked.dog.look(11.0)
        assert looked.dog.end(run)
        looked.dog.look(11.0)
        assert (looked.hung, looked.lost) == ([run], [])

    def test_what_is_known_to_take_long_may_take_long(self) -> None:
        looked = Looked(10.0)
        run = looked.begin(expected=2.0)
        looked.dog.look(2.0 * FAR)
        assert looked.hung == []
        looked.dog.look(1.0)
        assert looked.hung == [run]

    def test_what_keeps_its_bringer_s_thread_is_told_soon_but_lost_no_sooner(self) -> None:
        looked = Looked(10.0)
        run, other = looked.begin(here=True), looked.begin()
        looked.dog.look(4.0)
        assert (looked.hung, looked.lost) == ([run], [])
        looked.dog.look(7.5)
        assert (looked.hung, looked.lost) == ([run, other], [])
        looked.dog.look(1.0)
        assert set(looked.lost) == {run, other}


@pytest.fixture
def book() -> Book:
    return Book()


def drawing(label: int, steps: int = 1) -> Job:
    """Images of one class; returns the last."""
    for _ in range(steps):
        feed = {"z": np.ones((1, 4), np.float32), "label": np.array([label])}
        answer = yield RowCall(Capability.DECODE, feed)
    return answer["x"]


def loaded(store: Path, *, stuck: bool = False) -> LoadedModel:
    return load_model(write_hanging(store, stuck=stuck), Settings(provider="cpu"), "cpu")


class TestEndlessGraph:
    @pytest.fixture
    def model(self, tmp_path: Path) -> LoadedModel:
        return loaded(tmp_path)

    def test_is_ended_and_its_model_runs_no_more(self, model: LoadedModel, book: Book) -> None:
        told: list[tuple[Model, str]] = []
        other = FakeModel("other")
        with running(hang_seconds=SECONDS, on_hang=lambda *what: told.append(what)) as engine:
            engine.submit(model, drawing(1), 1, book.done)
            assert book.wait(1)[0].error is None
            start = time.monotonic()
            bad = engine.submit(model, drawing(HANGS), 1, book.done)
            for value in range(20):
                engine.submit(other, doubling(value), 1, book.done)
            book.wait(22)
            assert time.monotonic() - start < 20 * SECONDS
            assert isinstance(bad.error, ModelFailed)
            assert ENDLESS in bad.error.detail
            assert "hung" in bad.error.detail
            assert sum(ticket.error is None for ticket in book.ends) == 21
            after = engine.submit(model, drawing(1), 1, book.done)
            book.wait(23)
            assert isinstance(after.error, ModelFailed)
            assert engine.lost == 0, "the runtime ended it"
        assert [m.id for m, _ in told] == [ENDLESS]

    def test_ends_all_jobs_of_its_model(self, model: LoadedModel, book: Book) -> None:
        with running(hang_seconds=SECONDS) as engine:
            tickets = [engine.submit(model, drawing(HANGS if i == 3 else 1, 10**6), 1, book.done) for i in range(8)]
            book.wait(8)
            assert all(isinstance(ticket.error, ModelFailed) for ticket in tickets)
            assert engine.live == 0

    def test_that_is_alone_keeps_no_core_busy_afterwards(self, model: LoadedModel, book: Book) -> None:
        """The batch that is alone is tried on a session with all cores too, on a thread of its own."""
        with running(hang_seconds=SECONDS) as engine:
            engine.submit(model, drawing(HANGS), 1, book.done)
            book.wait(1)
            eventually(lambda: not any(thread.name == "amostra-widen" for thread in threading.enumerate()))
        before = time.process_time()
        time.sleep(0.3)
        assert time.process_time() - before < 0.2


class Stubborn(SequenceRunner):
    """Sequences that wait for a gate, and do not obey."""

    gate = threading.Event()

    def run(self, batch: Batch, go_on: Callable[[], bool] = lambda: False) -> Progress:
        assert self.gate.wait(20), "a test left the gate closed"
        return super().run(batch, go_on)


class TestThreadThatIsLost:
    @pytest.fixture
    def stuck(self) -> Iterator[FakeModel]:
        model = FakeModel("stuck")
        model.runner.gate.clear()
        yield model
        model.runner.gate.set()

    def test_is_replaced(self, stuck: FakeModel, book: Book) -> None:
        other, before = FakeModel("other"), set(threading.enumerate())
        with running(workers=1, hang_seconds=SECONDS) as engine:
            bad = engine.submit(stuck, doubling(1), 1, book.done)
            good = engine.submit(other, doubling(2), 1, book.done)
            book.wait(2)
            assert isinstance(bad.error, ModelFailed)
            assert "stuck hung" in bad.error.detail
            assert good.result == [4]
            assert stuck.stopped.is_set()
            assert engine.lost == 1
            stuck.runner.gate.set()
            eventually(lambda: engine.lost == 0)
            for value in range(10):
                engine.submit(other, doubling(value), 1, book.done)
            book.wait(12)
            assert len(book.ends) == 12, "nothing ended twice"
            assert sum(thread.name == "amostra-worker" for thread in set(threading.enumerate()) - before) == 1

    def test_that_is_not_the_engines_own_is_not_replaced(self, stuck: FakeModel, book: Book) -> None:
        """Whoever brings a short job runs it, and comes back, if ever, to an end that others were told of long ago."""
        stuck.runner.gate.set()
        told = threading.Event()
        with running(
            workers=1, hang_seconds=SECONDS, here_seconds=10.0, alone_seconds=10.0, on_stuck=told.set
        ) as engine:
            engine.submit(stuck, doubling(1), 1, book.done)
            book.wait(1)
            stuck.runner.gate.clear()
            ticket = Ticket(stuck, doubling(2), 1, INTERACTIVE, book.done)
            engine.take_in(ticket)
            bringing = threading.Thread(target=engine.begin, args=([ticket],), kwargs={"alone": True})
            bringing.start()
            assert isinstance(book.wait(2)[1].error, ModelFailed)
            assert told.wait(10), "what else that thread does is not done"
            assert engine.lost == 0
            stuck.runner.gate.set()
            bringing.join(10)
            engine.submit(FakeModel("other"), doubling(3), 1, book.done)
            assert book.wait(3)[2].result == [6]
            assert len(book.ends) == 3

    def test_ends_a_call_in_several_batches(self, stuck: FakeModel, book: Book) -> None:
        """A call of more rows than a batch holds: some wait, some are in a batch that runs, and some in one that hangs."""
        with running(workers=2, hang_seconds=SECONDS) as engine:
            bad = engine.submit(stuck, doubling(*range(300)), 300, book.done)
            book.wait(1)
            assert isinstance(bad.error, ModelFailed)
            assert engine.live == 0
            assert engine.waiting_rows(stuck) == 0
            stuck.runner.gate.set()
            eventually(lambda: engine.lost == 0)
            assert len(book.ends) == 1

    def test_ends_its_sequences(self, book: Book) -> None:
        session = pytest.importorskip("onnxruntime").InferenceSession(
            graphs.next_token(graphs.Language(40, 32))[0].SerializeToString(), providers=["CPUExecutionProvider"]
        )
        model = FakeModel("writer", Stubborn(session, 4, 32))
        Stubborn.gate.clear()

        def writing() -> Job:
            return (yield SequenceCall(np.array([1, 2, 3]), np.full(5, 0.5)))

        with running(workers=1, hang_seconds=SECONDS) as engine:
            tickets = [engine.submit(model, writing(), 8, book.done) for _ in range(6)]
            book.wait(6)
            assert all(isinstance(ticket.error, ModelFailed) for ticket in tickets)
            Stubborn.gate.set()
            eventually(lambda: engine.lost == 0)
        assert len(book.ends) == 6

    def test_a_cancelled_job_is_let_go(self, stuck: FakeModel, book: Book) -> None:
        with running(workers=1, hang_seconds=SECONDS) as engine:
            ticket = engine.submit(stuck, doubling(1), 1, book.done)
            assert stuck.runner.running.wait(10)
            engine.cancel(ticket)
            eventually(lambda: engine.lost == 1)
            eventually(lambda: engine.live == 0)
            assert book.ends == []

    def test_in_a_single_node_that_takes_long_is_lost_until_it_comes_back(self, tmp_path: Path, book: Book) -> None:
        model = loaded(tmp_path, stuck=True)
        with running(workers=1, hang_seconds=SECONDS) as engine:
            bad = engine.submit(model, drawing(HANGS), 1, book.done)
            book.wait(1)
            assert isinstance(bad.error, ModelFailed)
            assert STUCK in bad.error.detail
            assert engine.lost == 1
            eventually(lambda: engine.lost == 0, 60)


def test_what_is_known_to_be_slow_is_left_alone(book: Book) -> None:
    model = FakeModel()
    model.runner.seconds_per_row = 0.05
    with running(workers=1, hang_seconds=0.1, batch_seconds=10.0, call_seconds=10.0) as engine:
        engine.submit(model, repeated(1, times=2), 2, book.done)
        book.wait(1)
        engine.submit(model, doubling(*range(10)), 10, book.done)
        assert book.wait(2)[1].error is None
    assert max(len(batch) for batch in model.runner.batches) == 10


def test_an_engine_that_stops_waits_for_no_batch_that_hangs(book: Book) -> None:
    model = FakeModel()
    model.runner.gate.clear()
    engine: Engine
    with running(workers=1, stop_seconds=0.2) as engine:
        ticket = engine.submit(model, doubling(1), 1, book.done)
        assert model.runner.running.wait(10)
        start = time.monotonic()
        engine.stop()
        assert time.monotonic() - start < 5
        assert isinstance(ticket.error, NotReady)
        assert model.stopped.is_set()
        model.runner.gate.set()
    assert len(book.ends) == 1
