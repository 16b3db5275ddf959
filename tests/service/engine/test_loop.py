"""The loop: every job that was taken in ends exactly once, and one job's end is nobody else's business."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from contract import Capability
from service.cores import Place
from service.engine.batch import BACKGROUND, INTERACTIVE, Batch
from service.engine.job import Job, RowCall, Sampling, SequenceCall, Token
from service.engine.loop import Engine
from service.engine.sequences import Progress, SequenceRunner
from service.engine.ticket import Ticket
from service.errors import Invalid, ModelFailed, NotReady, Overloaded
from service.model import LoadedModel
from tests.eventually import eventually
from tests.service.engine.fake_models import Book, FakeModel, Watched, call, doubling, repeated, running
from tests.toys.directories import CONTEXT, WRITER


@pytest.fixture
def engine() -> Iterator[Engine]:
    with running() as engine:
        yield engine


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def book() -> Book:
    return Book()


class TestResults:
    def test_each_job_gets_its_own_rows(self, engine: Engine, model: FakeModel, book: Book) -> None:
        tickets = {engine.submit(model, doubling(i, i + 0.5), 2, book.done): i for i in range(100)}
        for ticket in book.wait(100):
            assert ticket.result == [2 * tickets[ticket], 2 * tickets[ticket] + 1]
        assert engine.live == 0

    def test_a_call_larger_than_a_batch_comes_back_whole_and_in_order(
        self, engine: Engine, model: FakeModel, book: Book
    ) -> None:
        values = list(range(1000))
        engine.submit(model, doubling(*values), 1000, book.done)
        engine.submit(model, doubling(*reversed(values)), 1000, book.done)
        results = sorted(ticket.result for ticket in book.wait(2))
        assert results == [[2 * v for v in values], [2 * v for v in reversed(values)]]
        assert max(len(batch) for batch in model.runner.batches) <= 64

    def test_jobs_of_many_steps_share_batches(self, model: FakeModel, book: Book) -> None:
        with running(workers=1) as engine:
            model.runner.gate.clear()
            for i in range(16):
                engine.submit(model, repeated(i, times=8), 8, book.done)
            model.runner.gate.set()
            assert sorted(ticket.result for ticket in book.wait(16)) == [i * 2**8 for i in range(16)]
        assert len(model.runner.batches) <= 8 + 2

    @pytest.mark.parametrize("ahead", [0, 7])
    def test_the_scheduler_keeps_nothing_of_a_job_that_has_ended(
        self, engine: Engine, model: FakeModel, book: Book, ahead: int
    ) -> None:
        """One that asks for less than it announced, too: its place in the order would be somebody else's."""

        def short() -> Job:
            yield RowCall(Capability.DECODE, call(1.0).inputs, ahead)

        for _ in range(20):
            engine.submit(model, short(), 1, book.done)
        book.wait(20)
        assert engine.waiting_rows(model) == 0
        assert engine._scheduler._queues[model.key].order._asked == {}

    def test_a_job_that_needs_no_graph_ends_too(self, engine: Engine, model: FakeModel, book: Book) -> None:
        def at_once() -> Job:
            return 7
            yield

        engine.submit(model, at_once(), 0, book.done)
        assert book.wait(1)[0].result == 7

    def test_a_slow_model_does_not_stop_the_others(self, engine: Engine, book: Book) -> None:
        slow, fast = FakeModel("slow"), FakeModel("fast")
        slow.runner.gate.clear()
        engine.submit(slow, doubling(1), 1, book.done)
        for i in range(20):
            engine.submit(fast, doubling(i), 1, book.done)
        assert {ticket.model.id for ticket in book.wait(20)} == {"fast"}
        slow.runner.gate.set()
        book.wait(21)

    def test_background_jobs_leave_a_worker_free_for_whoever_comes(self, book: Book) -> None:
        """Two workers, and work of the background for both: an interactive job finds one of them free, soon after another."""
        nightly, model = FakeModel("nightly"), FakeModel("model")
        nightly.runner.seconds_per_row = 0.03
        nightly.runner.sizes = (1,)
        with running(spare_seconds=0.3, patient_seconds=0.01) as engine:
            for _ in range(40):
                engine.submit(nightly, doubling(1.0), 1, lambda _: None, BACKGROUND)
            engine.submit(model, doubling(1.0), 1, book.done)
            book.wait(1)
            took = []
            for number in range(8):
                time.sleep(0.02)
                start = time.monotonic()
                engine.submit(model, doubling(1.0), 1, book.done)
                book.wait(number + 2)
                took.append(time.monotonic() - start)
        assert sorted(took)[4] < 0.01

    def test_gaps_between_one_clients_requests_are_not_theirs(self, book: Book) -> None:
        nightly, model, night = FakeModel("nightly"), FakeModel("model"), Book()
        with running(calm_seconds=0.5, patience_seconds=60.0) as engine:
            engine.submit(model, doubling(1.0), 1, book.done)
            book.wait(1)
            engine.submit(nightly, repeated(1.0, 3), 3, night.done, BACKGROUND)
            for number in range(10):
                time.sleep(0.002)
                engine.submit(model, doubling(1.0), 1, book.done)
                book.wait(number + 2)
            assert not engine.calm()
            assert not night.ends  # of its three batches one, for patience's sake
            night.wait(1)
            assert engine.calm()

    def test_background_jobs_go_on_under_steady_load(self, book: Book) -> None:
        nightly, model, over = FakeModel("nightly"), FakeModel("model"), threading.Event()
        model.runner.seconds_per_row = 0.002

        def again(_: Ticket) -> None:
            if not over.is_set():
                engine.submit(model, doubling(1.0), 1, again)

        with running(patience_seconds=0.05) as engine:
            for _ in range(4):
                engine.submit(model, doubling(1.0), 1, again)
            for _ in range(3):
                engine.submit(nightly, repeated(1.0, 2), 1, book.done, BACKGROUND)
            book.wait(3)
            over.set()

    def test_nobody_is_refused_because_of_them(self, book: Book) -> None:
        model = FakeModel()
        model.runner.seconds_per_row = 0.01
        with running(workers=1, queue_seconds=2.0, queue_requests=8) as engine:
            engine.submit(model, doubling(*range(30)), 30, book.done)
            book.wait(1)
            model.runner.gate.clear()
            nightly = [engine.submit(model, doubling(*range(500)), 500, book.done, BACKGROUND) for _ in range(4)]
            with pytest.raises(Overloaded):
                engine.admit(model, BACKGROUND)
            engine.admit(model)
            for ticket in nightly[1:]:
                engine.cancel(ticket)
            with pytest.raises(Overloaded, match=r" s of work"):
                engine.admit(model, BACKGROUND)
            engine.cancel(nightly[0])
            model.runner.gate.set()

    def test_background_jobs_wait_for_interactive_ones(self, book: Book) -> None:
        model = FakeModel()
        with running(workers=1) as engine:
            model.runner.gate.clear()
            engine.submit(model, doubling(0), 1, book.done)
            assert model.runner.running.wait(10)
            for i in range(100):
                engine.submit(model, doubling(i), 1, book.done, BACKGROUND)
            engine.submit(model, doubling(7), 1, book.done)
            model.runner.gate.set()
            book.wait(102)
        assert model.runner.batches[1] == [7]

    def test_rows_that_take_long_come_in_small_batches(self, book: Book) -> None:
        model = FakeModel()
        model.runner.seconds_per_row = 0.01
        with running(workers=1, batch_seconds=0.05) as engine:
            engine.submit(model, repeated(1, times=5), 5, book.done)
            book.wait(1)
            engine.submit(model, doubling(*range(40)), 40, book.done)
            book.wait(2)
        assert max(len(batch) for batch in model.runner.batches) <= 6


class TestLongJobs:
    def test_leave_a_worker_free_while_short_ones_come(self, book: Book) -> None:
        """Two long jobs of two models would take both workers; a short one in between finds one free at once."""
        one, two, quick = FakeModel("one"), FakeModel("two"), FakeModel("quick")
        for slow in (one, two):
            slow.runner.seconds_per_row = 0.02
        with running(workers=2, long_seconds=0.05, spare_seconds=5.0) as engine:
            for slow in (one, two):
                engine.submit(slow, repeated(1, times=100), 100, book.done)
            eventually(lambda: min(len(m.runner.batches) for m in (one, two)) >= 5)  # both are long by now
            engine.submit(quick, doubling(1), 1, book.done)
            book.wait(1)
            before = len(one.runner.batches) + len(two.runner.batches)
            start = time.monotonic()
            time.sleep(0.4)
            both = len(one.runner.batches) + len(two.runner.batches) - before
            assert both <= (time.monotonic() - start) / 0.02 + 3, "one at a time, where two could run at once"
            assert both >= 5, "and none is stopped"
            engine.stop()

    def test_have_all_workers_where_no_short_one_comes(self, book: Book) -> None:
        one, two = FakeModel("one"), FakeModel("two")
        for slow in (one, two):
            slow.runner.seconds_per_row = 0.02
        with running(workers=2, long_seconds=0.05, spare_seconds=0.05) as engine:
            for slow in (one, two):
                engine.submit(slow, repeated(1, times=40), 40, book.done)
            start = time.monotonic()
            book.wait(2)
            assert time.monotonic() - start < 40 * 0.02 * 1.6, "side by side, not one behind the other"


class TestWorkers:
    def test_keep_to_cores_of_their_own_where_they_are_told_to(
        self, model: FakeModel, book: Book, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        kept: list[tuple[int, int]] = []
        monkeypatch.setattr("service.cores.keep_to_one", lambda number, of: kept.append((number, of)))
        with running(workers=3) as engine:
            engine.submit(model, doubling(1), 1, book.done)
            book.wait(1)
        assert not kept
        with running(workers=3, pinned=True):
            eventually(lambda: sorted(kept) == [(0, 3), (1, 3), (2, 3)])

    def test_go_to_the_first_core_with_what_is_alone(
        self, model: FakeModel, book: Book, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The other threads of a session for such work are on the others."""
        moved: list[int] = []
        monkeypatch.setattr("service.cores.keep_to_one", lambda number, of: moved.append(number))
        monkeypatch.setattr("service.engine.loop.Place", lambda number, of: Place(7, of))
        other = FakeModel("other")
        with running(workers=1, pinned=True) as engine:
            model.runner.gate.clear()
            engine.submit(model, doubling(1), 1, book.done)
            assert model.runner.running.wait(10)
            assert moved == [7, 0]
            for each in (model, other):  # neither is alone, but for the last of them
                engine.submit(each, doubling(1), 1, book.done)
            model.runner.gate.set()
            book.wait(3)
        assert moved == [7, 0, 7, 0]

    def test_do_not_keep_waiting_who_takes_jobs_in(self, engine: Engine, model: FakeModel, book: Book) -> None:
        """While a worker puts a batch together or takes one apart."""
        engine.submit(model, doubling(1), 1, book.done)
        book.wait(1)
        ticket = Ticket(model, doubling(2), 1, INTERACTIVE, book.done)
        with engine._jobs.lock:
            other = threading.Thread(target=engine.take_in, args=(ticket,))
            other.start()
            other.join(10)
            assert not other.is_alive()
        engine.begin([ticket])
        assert book.wait(2)[1].result == [4]


class TestHere:
    """Short jobs are run by whoever brings them: those that are alone, and the small batches of a crowd."""

    @pytest.fixture(autouse=True)
    def threads(self) -> None:
        self.names: list[str] = []

    def job(self, value: float) -> Job:
        answer = yield call(value)
        self.names.append(threading.current_thread().name)
        return answer["y"][0, 0]

    def bring(self, engine: Engine, model: FakeModel, book: Book, count: int, *, alone: bool = False) -> list[Ticket]:
        tickets = [Ticket(model, self.job(i), 1, INTERACTIVE, book.done) for i in range(count)]
        for ticket in tickets:
            engine.take_in(ticket)
        engine.begin(tickets, alone=alone)
        return tickets

    def know(self, engine: Engine, model: FakeModel, book: Book, times: int = 1) -> None:
        """Have the model's pace measured, by workers."""
        for number in range(times):
            engine.submit(model, doubling(1), 1, book.done)
            book.wait(number + 1)
        book.ends.clear()

    def here(self) -> bool:
        assert len(set(self.names)) == 1
        return self.names[0] == threading.current_thread().name

    def test_one_that_is_alone_once_it_is_known_to_be_short(self, model: FakeModel, book: Book) -> None:
        with running(here_seconds=10.0, alone_seconds=10.0, turn_seconds=0.0) as engine:
            for number in range(5):
                self.bring(engine, model, book, 1, alone=True)
                assert book.wait(number + 1)[-1].result == 0
            assert engine.live == 0
        assert self.names[0].startswith("amostra-worker")
        assert set(self.names[1:]) == {threading.current_thread().name}

    def test_a_crowd_in_one_batch_and_nobody_is_woken(self, model: FakeModel, book: Book) -> None:
        with running(here_seconds=10.0, alone_seconds=10.0, turn_seconds=10.0) as engine:
            self.know(engine, model, book)
            model.runner.batches.clear()
            tickets = self.bring(engine, model, book, 16)
            assert [ticket.result for ticket in tickets] == [2 * i for i in range(16)], "before it returns"
            assert self.here()
            assert len(model.runner.batches) == 1
            assert engine.live == 0

    @pytest.mark.parametrize(
        ("here", "turn", "alone"), [(10.0, 0.0, False), (0.0, 10.0, False), (0.0, 10.0, True)], ids=str
    )
    def test_not_where_they_are_long(self, model: FakeModel, book: Book, here: float, turn: float, alone: bool) -> None:
        with running(here_seconds=here, alone_seconds=here, turn_seconds=turn) as engine:
            self.know(engine, model, book)
            self.bring(engine, model, book, 1, alone=alone)
            book.wait(1)
            assert not self.here()

    def test_not_where_nothing_was_measured(self, model: FakeModel, book: Book) -> None:
        with running(here_seconds=10.0, alone_seconds=10.0, turn_seconds=10.0) as engine:
            self.bring(engine, model, book, 4)
            book.wait(4)
        assert not any(name == threading.current_thread().name for name in self.names)

    def test_not_a_batch_that_takes_long_although_each_of_its_jobs_is_short(self, model: FakeModel, book: Book) -> None:
        model.runner.seconds_per_row = 0.01
        with running(workers=1, here_seconds=0.05, alone_seconds=0.05, turn_seconds=0.05) as engine:
            self.know(engine, model, book)
            start = time.monotonic()
            self.bring(engine, model, book, 16)
            assert time.monotonic() - start < 0.1
            book.wait(16)
        assert not any(name == threading.current_thread().name for name in self.names)

    def test_not_the_batch_of_another_that_is_next_and_long(self, model: FakeModel, book: Book) -> None:
        """The order of the scheduler holds for this thread too."""
        slow = FakeModel("slow")
        with running(workers=1, here_seconds=10.0, alone_seconds=10.0, turn_seconds=10.0) as engine:
            self.know(engine, model, book)
            slow.runner.gate.clear()
            engine.submit(slow, doubling(1), 1, book.done)
            assert slow.runner.running.wait(10)
            engine.submit(slow, doubling(2), 1, book.done)
            self.bring(engine, model, book, 2)
            assert len(slow.runner.batches) == 0, "it did not wait at the gate"
            slow.runner.gate.set()
            book.wait(4)

    def test_what_is_alone_is_run_on_the_first_core(
        self, model: FakeModel, book: Book, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And nothing else is: what that thread starts would keep to it."""
        places: list[str] = []
        with running(here_seconds=10.0, alone_seconds=10.0, turn_seconds=10.0, pinned=True) as engine:
            self.know(engine, model, book)
            monkeypatch.setattr("service.engine.loop.keep_to_one", lambda number, of: places.append(f"core {number}"))
            monkeypatch.setattr("service.engine.loop.use_all", lambda: places.append("all"))
            self.bring(engine, model, book, 1, alone=True)
            assert places == ["core 0", "all"]
            self.bring(engine, model, book, 2)
            assert places == ["core 0", "all"] * 2, "of a batch that nothing else waits beside"

    def test_none_of_the_background(self, model: FakeModel, book: Book) -> None:
        with running(here_seconds=10.0, alone_seconds=10.0, turn_seconds=10.0) as engine:
            self.know(engine, model, book)
            ticket = Ticket(model, self.job(1), 1, BACKGROUND, book.done)
            engine.take_in(ticket)
            engine.begin([ticket])
            book.wait(1)
        assert not self.here()

    def test_one_alone_is_not_alone_while_others_are_under_way(self, model: FakeModel, book: Book) -> None:
        slow = FakeModel("slow")
        with running(here_seconds=10.0, alone_seconds=10.0, turn_seconds=0.0) as engine:
            self.know(engine, model, book)
            slow.runner.gate.clear()
            engine.submit(slow, doubling(1), 1, book.done)
            self.bring(engine, model, book, 1, alone=True)
            book.wait(1)
            slow.runner.gate.set()
            book.wait(2)
        assert not self.here()

    def test_what_turns_out_long_is_left_to_the_workers(self, model: FakeModel, book: Book) -> None:
        with running(here_seconds=0.05, alone_seconds=0.05) as engine:
            self.know(engine, model, book)
            model.runner.seconds_per_row = 0.06
            ticket = Ticket(model, repeated(1.0, 10), 1, INTERACTIVE, book.done)
            engine.take_in(ticket)
            start = time.monotonic()
            engine.begin([ticket], alone=True)
            assert time.monotonic() - start < 0.3
            assert book.wait(1)[-1].result == 2.0**10

    def test_one_that_was_cancelled_before_it_was_begun_is_forgotten(self, model: FakeModel, book: Book) -> None:
        watched = Watched()
        with running(here_seconds=10.0, alone_seconds=10.0, turn_seconds=10.0) as engine:
            self.know(engine, model, book)
            ticket = Ticket(model, watched.job(), 1, INTERACTIVE, book.done)
            engine.take_in(ticket)
            assert engine.live == 1
            engine.cancel(ticket)
            engine.begin([ticket])
            assert engine.live == 0
        assert book.ends == []

    def test_one_that_was_taken_in_and_not_begun_ends_with_the_engine(self, model: FakeModel, book: Book) -> None:
        with running() as engine:
            ticket = Ticket(model, self.job(1), 1, INTERACTIVE, book.done)
            engine.take_in(ticket)
            engine.stop()
            assert isinstance(ticket.error, NotReady)
            engine.begin([ticket])
        assert len(book.ends) == 1


class TestFailures:
    def test_a_poisoned_row_fails_alone(self, engine: Engine, model: FakeModel, book: Book) -> None:
        model.runner.gate.clear()
        tickets = {i: engine.submit(model, doubling(-1 if i == 5 else i), 1, book.done) for i in range(12)}
        model.runner.gate.set()
        book.wait(12)
        for i, ticket in tickets.items():
            if i == 5:
                assert type(ticket.error) is ModelFailed
                assert "no other request is affected" in str(ticket.error)
                assert ticket.result is None
            else:
                assert (ticket.result, ticket.error) == ([2 * i], None)

    def test_one_bad_piece_fails_the_whole_call_once(self, engine: Engine, model: FakeModel, book: Book) -> None:
        values = [float(i) for i in range(500)]
        values[200] = -1
        bad = engine.submit(model, doubling(*values), 500, book.done)
        good = [engine.submit(model, doubling(*range(100)), 100, book.done) for _ in range(3)]
        book.wait(4)
        assert type(bad.error) is ModelFailed
        assert all(ticket.result == [2 * i for i in range(100)] for ticket in good)
        assert engine.live == 0

    def test_an_error_of_the_job_ends_it_and_keeps_our_own_errors_as_they_are(
        self, engine: Engine, model: FakeModel, book: Book
    ) -> None:
        def ours() -> Job:
            yield call(1)
            raise Invalid("sigma: no", field="sigma")

        def a_bug() -> Job:
            yield call(1)
            raise ZeroDivisionError("secret")

        def at_once() -> Job:
            raise KeyError("secret")
            yield

        submitted = [engine.submit(model, job, 1, book.done) for job in (ours(), a_bug(), at_once(), doubling(3))]
        book.wait(4)
        assert isinstance(submitted[0].error, Invalid)
        for ticket in submitted[1:3]:
            assert ticket.error is not None
            assert getattr(ticket.error, "status", None) == 500
            assert "secret" not in str(ticket.error)
        assert submitted[3].result == [6]

    @pytest.mark.parametrize("nonsense", [None, 7, RowCall("no such capability", {"x": np.zeros((1, 1))})])
    def test_a_job_that_asks_for_nonsense_does_not_take_a_worker_along(
        self, engine: Engine, model: FakeModel, book: Book, nonsense: object
    ) -> None:
        closed: list[int] = []

        def bug(number: int) -> Job:
            try:
                yield nonsense  # type: ignore[misc]
            finally:
                closed.append(number)

        for number in range(5):  # more than there are workers
            engine.submit(model, bug(number), 1, book.done)
        assert all(getattr(ticket.error, "status", None) == 500 for ticket in book.wait(5))
        assert sorted(closed) == list(range(5))
        engine.submit(model, doubling(4), 1, book.done)
        assert book.wait(6)[-1].result == [8]

    def test_a_runner_of_sequences_that_breaks_does_not_take_a_worker_along(
        self, engine: Engine, model: FakeModel, book: Book, models: dict[str, LoadedModel]
    ) -> None:
        class Broken(SequenceRunner):
            def run(self, batch: Batch, go_on: Callable[[], bool] = lambda: False) -> Progress:
                raise AssertionError("a bug")

        runner = models[WRITER].runners[Capability.NEXT_TOKEN]
        broken = FakeModel("broken", Broken(runner.parts[0]._graph.session, 4, CONTEXT))
        for number in range(5):
            engine.submit(broken, text(models[WRITER], 3 * number + 1, 5), 1, book.done)
        assert all(type(ticket.error) is ModelFailed for ticket in book.wait(5))
        engine.submit(model, doubling(4), 1, book.done)
        assert book.wait(6)[-1].result == [8]
        assert engine.live == 0

    def test_a_job_may_catch_a_failure_and_go_on(self, engine: Engine, model: FakeModel, book: Book) -> None:
        def stubborn() -> Job:
            try:
                yield call(-1)
            except ModelFailed:
                answer = yield call(4)
            return float(answer["y"][0, 0])

        engine.submit(model, stubborn(), 2, book.done)
        assert book.wait(1)[0].result == 8


class TestCancellation:
    def test_before_it_started(self, engine: Engine, model: FakeModel, book: Book) -> None:
        model.runner.gate.clear()
        blockers = [engine.submit(FakeModel(str(i), model.runner), doubling(1), 1, book.done) for i in range(2)]
        watched = Watched()
        ticket = engine.submit(model, watched.job(), 1, book.done)
        engine.cancel(ticket)
        assert engine.live == 2
        model.runner.gate.set()
        assert set(book.wait(2)) == set(blockers)

    def test_while_it_waits_for_a_batch(self, model: FakeModel, book: Book) -> None:
        with running(workers=1) as engine:
            model.runner.gate.clear()
            engine.submit(model, doubling(1), 1, book.done)
            assert model.runner.running.wait(10)
            watched = Watched()
            ticket = engine.submit(model, watched.job(), 1, book.done)
            engine.cancel(ticket)
            assert engine.live == 1
            model.runner.gate.set()
            book.wait(1)
            eventually(lambda: engine.live == 0)
        assert ticket not in book.ends
        assert sum(len(batch) for batch in model.runner.batches) == 1, "what was cancelled was not computed"

    def test_while_its_batch_runs_leaves_its_batch_mates_alone(
        self, engine: Engine, model: FakeModel, book: Book
    ) -> None:
        model.runner.gate.clear()
        watched = Watched()
        ticket = engine.submit(model, watched.job(times=3), 3, book.done)
        mates = [engine.submit(model, doubling(i), 1, book.done) for i in range(5)]
        assert model.runner.running.wait(10)
        engine.cancel(ticket)
        model.runner.gate.set()
        book.wait(5)
        eventually(lambda: engine.live == 0)
        assert [mate.result for mate in mates] == [[2 * i] for i in range(5)]
        assert ticket not in book.ends
        assert watched.closed

    def test_between_two_steps_closes_the_job(self, engine: Engine, model: FakeModel, book: Book) -> None:
        watched = Watched()
        ticket = engine.submit(model, watched.job(times=10**9), 1, book.done)
        eventually(lambda: len(model.runner.batches) > 5)
        engine.cancel(ticket)
        eventually(lambda: watched.closed and engine.live == 0)
        time.sleep(0.02)
        count = len(model.runner.batches)
        time.sleep(0.02)
        assert len(model.runner.batches) == count, "nothing runs for it any more"
        assert book.ends == []

    def test_during_its_last_step_is_still_a_cancellation(self, engine: Engine, model: FakeModel, book: Book) -> None:
        tickets: list[Ticket] = []

        def job() -> Job:
            yield call(1)
            engine.cancel(tickets[0])  # as another thread might, at this moment
            return "a result that nobody waits for"

        model.runner.gate.clear()
        tickets.append(engine.submit(model, job(), 1, book.done))
        model.runner.gate.set()
        eventually(lambda: engine.live == 0)
        engine.submit(model, doubling(1), 1, book.done)
        book.wait(1)
        assert tickets[0] not in book.ends

    def test_twice_or_after_the_end_is_harmless(self, engine: Engine, model: FakeModel, book: Book) -> None:
        ticket = engine.submit(model, doubling(1), 1, book.done)
        book.wait(1)
        engine.cancel(ticket)
        engine.cancel(ticket)
        assert ticket.result == [2]
        assert len(book.ends) == 1

    def test_frees_the_queue(self, model: FakeModel, book: Book) -> None:
        with running(queue_seconds=1.0) as engine:
            model.runner.seconds_per_row = 0.01
            engine.submit(model, doubling(*range(20)), 20, book.done)
            book.wait(1)
            model.runner.gate.clear()
            waiting = [engine.submit(model, doubling(*range(500)), 500, book.done) for _ in range(3)]
            with pytest.raises(Overloaded):
                engine.admit(model)
            for ticket in waiting:
                engine.cancel(ticket)
            model.runner.gate.set()
            eventually(lambda: engine.live == 0)
            engine.admit(model)


class TestLimits:
    def test_more_jobs_than_the_limit_are_refused_at_once(self, model: FakeModel, book: Book) -> None:
        with running(queue_requests=3) as engine:
            model.runner.gate.clear()
            for i in range(3):
                engine.admit(model)
                engine.submit(model, doubling(i), 1, book.done)
            with pytest.raises(Overloaded) as caught:
                engine.admit(model)
            assert caught.value.retry_after is not None
            assert caught.value.retry_after >= 1
            model.runner.gate.set()
            book.wait(3)
            eventually(lambda: engine.live == 0)
            engine.admit(model)

    def test_more_work_than_the_limit_is_refused_with_a_time_that_grows_with_it(
        self, model: FakeModel, book: Book
    ) -> None:
        model.runner.seconds_per_row = 0.01
        with running(workers=1, queue_seconds=2.0, batch_seconds=0.05) as engine:
            engine.submit(model, doubling(*range(30)), 30, book.done)
            book.wait(1)
            engine.admit(model)
            waits = []
            model.runner.gate.clear()
            tickets = []
            for _ in range(4):
                tickets.append(engine.submit(model, doubling(*range(500)), 500, book.done))  # 5 s each
                with pytest.raises(Overloaded, match="of work stand before") as caught:
                    engine.admit(model)
                waits.append(caught.value.retry_after)
            assert waits == sorted(waits)
            assert engine.wait_seconds(model) == pytest.approx(20, rel=0.3)
            engine.admit(FakeModel("another"))
            for ticket in tickets:
                engine.cancel(ticket)
            model.runner.gate.set()

    def test_waiting_rows_are_known(self, model: FakeModel, book: Book) -> None:
        with running(workers=1) as engine:
            model.runner.gate.clear()
            engine.submit(model, doubling(*range(200)), 200, book.done)
            assert model.runner.running.wait(10)
            eventually(lambda: engine.waiting_rows(model) == 200 - 64)
            model.runner.gate.set()
            book.wait(1)
            assert engine.waiting_rows(model) == 0


class TestStop:
    def test_what_waits_ends_with_an_error_and_what_runs_is_let_run(self, book: Book) -> None:
        engine, model = Engine(1), FakeModel()
        engine.start()
        model.runner.gate.clear()
        tickets = [engine.submit(model, repeated(1, times=3), 3, book.done) for _ in range(4)]
        assert model.runner.running.wait(10)
        stopping = threading.Thread(target=engine.stop)
        stopping.start()
        time.sleep(0.02)
        assert book.ends == [], "a batch in flight is not torn away"
        model.runner.gate.set()
        stopping.join(10)
        assert not stopping.is_alive()
        assert sorted(map(id, book.ends)) == sorted(map(id, tickets))
        assert all(isinstance(ticket.error, NotReady) for ticket in tickets)
        assert engine.live == 0

    def test_nothing_is_taken_in_afterwards(self, model: FakeModel, book: Book) -> None:
        engine = Engine(1)
        engine.start()
        engine.stop()
        with pytest.raises(NotReady):
            engine.submit(model, doubling(1), 1, book.done)
        assert book.ends == []


class Notes:
    """An observer that writes down what it is told."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.batches: list[tuple[int, float, int]] = []

    def waited(self, model: object, seconds: float, trace: object) -> None:
        self.waits.append(seconds)

    def batch(self, model: object, batch, seconds: float, padding: int) -> None:
        self.batches.append((batch.rows, seconds, padding))


def test_the_observer_is_told_of_every_wait_and_batch(model: FakeModel, book: Book) -> None:
    notes = Notes()
    with running(observer=notes) as engine:
        for _ in range(10):
            engine.submit(model, doubling(*range(100)), 100, book.done)
        book.wait(10)
    assert len(notes.waits) == 10
    assert min(notes.waits) >= 0
    assert sum(rows for rows, _, _ in notes.batches) == 1000


@pytest.mark.parametrize("seed", range(4))
def test_every_job_ends_exactly_once_in_a_storm(seed: int) -> None:
    """Random steps, failures and cancellations from several threads over three models."""
    chance = random.Random(seed)
    book, models = Book(), [FakeModel(name) for name in "abc"]
    closed: Counter = Counter()
    tickets: list[Ticket] = []
    cancelled: set[int] = set()

    def job(number: int, steps: int, ending: str) -> Job:
        try:
            for _ in range(steps):
                answer = yield call(*range(number % 7 + 1))
                assert answer["y"][:, 0].tolist() == [2.0 * i for i in range(number % 7 + 1)]
            if ending == "poison":
                yield call(-1)
            if ending == "raise":
                raise ValueError(number)
            return number
        finally:
            closed[number] += 1

    endings = [chance.choice(["result", "result", "poison", "raise"]) for _ in range(200)]
    with running(workers=3) as engine:
        for number, ending in enumerate(endings):
            steps = chance.choice([0, 1, 2, 10])
            tickets.append(engine.submit(chance.choice(models), job(number, steps, ending), 1, book.done))
            if chance.random() < 0.3:
                victim = chance.randrange(len(tickets))
                cancelled.add(victim)
                engine.cancel(tickets[victim])
        eventually(lambda: engine.live == 0)
    ends = Counter(id(ticket) for ticket in book.ends)
    for number, (ticket, ending) in enumerate(zip(tickets, endings, strict=True)):
        assert ends[id(ticket)] <= 1
        if number not in cancelled:
            assert ends[id(ticket)] == 1
            assert closed[number] == 1
        if ends[id(ticket)]:
            assert (ticket.error is None) == (ending == "result")
            assert ticket.result == (number if ending == "result" else None)


def text(model: LoadedModel, number: int, tokens: int) -> Job:
    """Tokens of a toy text model; every third job scores its prompt first, on the same model's other graph."""
    rng = np.random.default_rng(number)
    prompt = rng.integers(0, 40, 1 + number % 9)
    if number % 3 == 0:
        feed = {"input_ids": prompt[None], "lengths": np.array([len(prompt)])}
        yield RowCall(Capability.LOG_DENSITY, feed)
    said: list[tuple[int, float]] = []

    def listen(token: Token) -> bool:
        said.append((token.id, token.log_prob))
        return False

    ids = yield SequenceCall(prompt, rng.random(tokens), Sampling(logprobs=0), listen=listen)
    assert ids.tolist() == [token for token, _ in said]
    return said


def test_a_text_makes_room_at_once_for_who_comes(models: dict[str, LoadedModel], book: Book) -> None:
    """One that nobody disturbs would take all of its steps in one go here."""
    model, under_way, came = models[WRITER], threading.Event(), threading.Event()

    def listen(token: Token) -> bool:
        under_way.set()
        assert came.wait(20)
        return False

    def long() -> Job:
        return (yield SequenceCall(np.array([1, 2]), np.full(CONTEXT - 2, 0.5), listen=listen))

    def short() -> Job:
        return (yield SequenceCall(np.array([3, 4]), np.full(1, 0.5)))

    with running(workers=1, step_seconds=60.0) as engine:
        engine.submit(model, long(), 20, book.done)
        assert under_way.wait(20)
        engine.submit(model, short(), 3, book.done)
        came.set()
        assert [len(ticket.result) for ticket in book.wait(2)] == [1, CONTEXT - 2]


def test_cancelled_texts_do_not_change_the_others(models: dict[str, LoadedModel]) -> None:
    model = models[WRITER]
    chance, book = random.Random(0), Book()
    with running() as engine:
        alone = []
        for number in range(40):
            engine.submit(model, text(model, number, 15), 20, book.done)
            alone.append(book.wait(number + 1)[-1].result)
        tickets = [engine.submit(model, text(model, number, 15), 20, book.done) for number in range(40)]
        cancelled = set()
        while engine.live > 12:
            victim = chance.randrange(40)
            cancelled.add(victim)
            engine.cancel(tickets[victim])
            time.sleep(0.001)
        eventually(lambda: engine.live == 0)
    for number, ticket in enumerate(tickets):
        if ticket in book.ends:
            assert ticket.result == alone[number]
        else:
            assert number in cancelled
