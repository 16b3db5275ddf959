"""Who is let in: what a new request would wait for, and how much room one model leaves the others."""

from collections.abc import Iterator, Mapping

import pytest

from service.engine.admission import Admission
from service.engine.share import Share
from service.engine.ticket import Ticket
from service.errors import Overloaded
from tests.service.engine.fake_models import FakeModel


def job() -> Iterator[None]:
    yield


def admission(
    workers: int = 1, queue_requests: int = 100, shares: Mapping[str, Share] | None = None, queue_seconds: float = 1e6
) -> Admission:
    return Admission(workers, queue_seconds, queue_requests, shares or {}, lambda key: None)


def comes(to: Admission, model: FakeModel, work: float) -> Ticket:
    ticket = Ticket(model, job(), work, 0, lambda ticket: None)  # type: ignore[arg-type]
    to.came(ticket)
    return ticket


def known(to: Admission, *models: FakeModel) -> None:
    """Of each model it is known that a unit of work takes a second."""
    for model in models:
        ticket = comes(to, model, 1.0)
        to.had(ticket, 1.0)
        to.ended(ticket, served=True)


class TestWait:
    def test_alone_it_is_the_models_own_work(self) -> None:
        model, idle, ours = FakeModel("a"), FakeModel("idle"), admission(workers=2)
        known(ours, model, idle)
        comes(ours, model, 10)
        assert ours.wait_seconds(model) == pytest.approx(5)
        assert ours.wait_seconds(idle) == 0

    def test_others_take_turns_meanwhile_as_long_as_they_have_work(self) -> None:
        a, b, c, ours = FakeModel("a"), FakeModel("b"), FakeModel("c"), admission()
        known(ours, a, b, c)
        comes(ours, a, 10), comes(ours, b, 100), comes(ours, c, 4)
        assert ours.wait_seconds(a) == pytest.approx(10 + 10 + 4)
        assert ours.wait_seconds(b) == pytest.approx(100 + 10 + 4)
        assert ours.wait_seconds(c) == pytest.approx(3 * 4)

    def test_turns_go_by_weight(self) -> None:
        a, b = FakeModel("a"), FakeModel("b")
        ours = admission(shares={"b": Share(weight=3.0)})
        known(ours, a, b)
        comes(ours, a, 10), comes(ours, b, 100)
        assert ours.wait_seconds(a) == pytest.approx(10 + 30)
        assert ours.wait_seconds(b) == pytest.approx(100 + 10)

    def test_who_has_ended_takes_no_turns(self) -> None:
        a, b, ours = FakeModel("a"), FakeModel("b"), admission()
        known(ours, a, b)
        comes(ours, a, 10)
        other = comes(ours, b, 10)
        ours.had(other, 4.0)
        assert ours.wait_seconds(a) == pytest.approx(16)
        ours.ended(other, served=False)
        assert ours.wait_seconds(a) == pytest.approx(10)

    def test_the_bound_is_on_all_of_it(self) -> None:
        a, b, ours = FakeModel("a"), FakeModel("b"), admission(queue_seconds=15.0)
        known(ours, a, b)
        comes(ours, a, 10)
        ours.admit(a, 1)
        comes(ours, b, 10)
        with pytest.raises(Overloaded, match=r"20\.0 s of work stand before"):
            ours.admit(a, 2)


class TestRoom:
    def crowd(self, to: Admission, model: FakeModel, live: int = 0) -> int:
        """How many jobs of a model are let in after others."""
        for jobs in range(1000):
            try:
                to.admit(model, live + jobs)
            except Overloaded:
                return jobs
            comes(to, model, 1.0)
        pytest.fail("never full")

    def test_a_crowd_at_one_model_leaves_room_for_the_next(self) -> None:
        ours = admission(queue_requests=100)
        first = self.crowd(ours, FakeModel("a"))
        second = self.crowd(ours, FakeModel("b"), live=first)
        assert first == 80
        assert second == 16
        ours.admit(FakeModel("c"), first + second)

    def test_all_together_never_have_more_than_the_bound(self) -> None:
        ours, live = admission(queue_requests=10), 0
        for number in range(20):
            live += self.crowd(ours, FakeModel(str(number)), live)
        assert live == 10

    @pytest.mark.parametrize("most", [1, 2, 4])
    def test_a_small_bound_is_one_models_own(self, most: int) -> None:
        assert self.crowd(admission(queue_requests=most), FakeModel("a")) == most
