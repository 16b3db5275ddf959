"""The lane of sequences: who has a slot, whose prompt is next, and that none is lost."""

import random
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from contract import Capability
from service.engine.batch import BACKGROUND, INTERACTIVE, Batch, Lane, Work
from service.engine.job import RowCall, SequenceCall
from service.engine.scheduler import Scheduler


def lane(slots: int = 3) -> Lane:
    return Lane("text", Capability.NEXT_TOKEN, slots, slots)


def sequence(
    owner: object, slots: int = 3, priority: int = INTERACTIVE, group: object = None, *, resumes: bool = False
) -> Work:
    call = SequenceCall(np.zeros(1, np.int64), np.zeros(1), resumes=resumes)
    return Work(owner, call, lane(slots), priority, group=group)


def kind(batch: Batch | None) -> str:
    """`P a` for a part of a prompt, `S ab` for a step."""
    if batch is None:
        return "-"
    if batch.prompt is not None:
        return f"P {batch.prompt.owner}"
    return "S " + "".join(sorted(str(work.owner) for work in batch.live))


@dataclass
class Runner:
    """A scheduler and a runner's book: a prompt has so many `parts`, one where nothing is said."""

    scheduler: Scheduler = field(default_factory=Scheduler)
    parts: dict[object, int] = field(default_factory=dict)
    owners: dict[object, object] = field(default_factory=dict)

    def add(self, *owners: object, **fields: object) -> None:
        for owner in owners:
            self.scheduler.add(sequence(self.owners.setdefault(owner, owner), **fields))

    def discard(self, owner: object) -> None:
        self.scheduler.discard(self.owners[owner], lane())

    def run(self, ends: str = "") -> str:
        """One batch, in which these owners' sequences end."""
        batch = self.scheduler.next_batch()
        if batch is None:
            return "-"
        if batch.prompt is not None:
            owner = batch.prompt.owner
            left = self.parts.pop(owner, 1) - 1
            if left:
                self.parts[owner] = left
            else:
                self.scheduler.prompt_done(batch.prompt)
        for work in batch.works:
            if str(work.owner) in ends:
                self.scheduler.ended(work)
        self.scheduler.finish(batch, 1.0)
        return kind(batch)

    def until(self, wanted: str) -> None:
        for _ in range(50):
            if self.run() == wanted:
                return
        raise AssertionError(f"there was no {wanted}")


def test_a_prompt_is_computed_in_parts_and_then_steps() -> None:
    runner = Runner(parts={"a": 3})
    runner.add("a")
    assert [runner.run() for _ in range(5)] == ["P a", "P a", "P a", "S a", "S a"]


def test_the_others_step_between_two_parts() -> None:
    runner = Runner(parts={"b": 3})
    runner.add("a")
    runner.run()
    runner.add("b")
    assert [runner.run() for _ in range(7)] == ["S a", "P b", "S a", "P b", "S a", "P b", "S ab"]


def test_no_more_sequences_than_slots() -> None:
    runner = Runner()
    runner.add(*"abcde")
    order = [runner.run() for _ in range(8)]
    assert not any("d" in batch or "e" in batch for batch in order)
    assert order[-1] == "S abc"


def test_a_sequence_that_is_given_up_makes_room_and_is_told_once() -> None:
    runner = Runner()
    runner.add(*"abcd")
    runner.until("S abc")
    runner.discard("b")
    batch = runner.scheduler.next_batch()
    assert batch is not None
    assert (kind(batch), batch.left) == ("P d", ("b",))
    runner.scheduler.prompt_done(batch.prompt)
    runner.scheduler.finish(batch, 1.0)
    batch = runner.scheduler.next_batch()
    assert batch is not None
    assert (kind(batch), batch.left) == ("S acd", ())


def test_one_that_ended_makes_room_and_its_runner_is_told_nothing() -> None:
    runner = Runner()
    runner.add(*"abcd")
    runner.until("S abc")
    assert runner.run(ends="b") == "S abc"
    batch = runner.scheduler.next_batch()
    assert batch is not None
    assert (kind(batch), batch.left) == ("P d", ())


def test_one_that_ends_with_its_prompt_never_steps() -> None:
    runner = Runner()
    runner.add(*"ab")
    assert [runner.run(ends="a"), runner.run(), runner.run()] == ["P a", "P b", "S b"]


def test_only_one_batch_is_in_flight() -> None:
    scheduler = Scheduler()
    for owner in "ab":
        scheduler.add(sequence(owner))
    batch = scheduler.next_batch()
    assert scheduler.next_batch() is None
    assert not scheduler.runnable()
    assert batch is not None
    scheduler.finish(batch, 1.0)
    assert scheduler.runnable()


def test_a_sequence_that_resumes_goes_before_those_that_wait() -> None:
    runner = Runner()
    runner.add(*"abc")
    runner.until("S abc")
    runner.add("w")
    runner.add("few", group="few")
    batch = runner.scheduler.next_batch()
    assert kind(batch) == "S abc"
    assert batch is not None
    runner.scheduler.ended(next(work for work in batch.live if work.owner == "a"))
    runner.scheduler.add(sequence("a", resumes=True))
    runner.scheduler.finish(batch, 1.0)
    assert [runner.run(), runner.run()] == ["P a", "S abc"]


def test_a_request_for_many_sequences_does_not_hold_up_one_for_few() -> None:
    runner = Runner()
    many = [f"m{i}" for i in range(8)]
    runner.add(*many, group="many")
    runner.until("S m0m1m2")
    runner.add("few", group="few")
    runner.discard("m0")
    assert runner.run() == "P few"
    runner.discard("few")
    runner.run()
    assert runner.run() == "P m3", "a slot that nobody else wants goes to whoever waits"


def test_requests_for_many_sequences_share_the_slots() -> None:
    runner = Runner()
    for group in "ab":
        runner.add(*(f"{group}{i}" for i in range(8)), slots=4, group=group)
    assert [runner.run() for _ in range(9)][-1] == "S a0a1b0b1"


def test_a_prompt_that_is_given_up_half_way_makes_room() -> None:
    runner = Runner(parts={"a": 3})
    runner.add(*"ab")
    runner.run()
    runner.discard("a")
    batch = runner.scheduler.next_batch()
    assert batch is not None
    assert (kind(batch), batch.left) == ("P b", ("a",))


@pytest.mark.parametrize("told", ["prompt_done", "ended"])
def test_one_that_is_given_up_while_its_prompt_is_computed_stays_away(told: str) -> None:
    scheduler, owner = Scheduler(), "a"
    scheduler.add(sequence(owner))
    batch = scheduler.next_batch()
    assert batch is not None
    scheduler.discard(owner, lane())
    getattr(scheduler, told)(batch.prompt)
    scheduler.finish(batch, 1.0)
    assert not scheduler.runnable()
    scheduler.add(sequence("b"))
    batch = scheduler.next_batch()
    assert batch is not None
    assert (kind(batch), batch.left) == ("P b", ("a",))


def test_background_prompts_wait_for_interactive_ones() -> None:
    runner = Runner()
    runner.add("nightly", priority=BACKGROUND)
    runner.add("person")
    assert runner.run() == "P person"


def test_those_of_the_background_rest_while_interactive_ones_are_here() -> None:
    runner = Runner()
    runner.add("nightly", priority=BACKGROUND)
    assert [runner.run() for _ in range(2)] == ["P nightly", "S nightly"]
    runner.add("person")
    assert [runner.run() for _ in range(3)] == ["P person", "S person", "S person"]
    assert runner.run(ends="person") == "S person"
    assert runner.run() == "S nightly"


def test_they_leave_half_of_the_slots() -> None:
    runner = Runner()
    runner.add(*"abcdef", slots=4, priority=BACKGROUND)
    assert [runner.run() for _ in range(5)] == ["P a", "S a", "P b", "S ab", "S ab"]
    runner.add("p", "q", slots=4)
    assert [runner.run() for _ in range(4)] == ["P p", "S p", "P q", "S pq"]


def test_a_prompt_of_theirs_gives_way_and_is_begun_again() -> None:
    runner = Runner(parts={"nightly": 3})
    runner.add("nightly", priority=BACKGROUND)
    assert runner.run() == "P nightly"
    runner.add("person")
    batch = runner.scheduler.next_batch()
    assert batch is not None
    assert (kind(batch), batch.left) == ("P person", ("nightly",))
    runner.scheduler.prompt_done(batch.prompt)
    runner.scheduler.finish(batch, 1.0)
    assert runner.run(ends="person") == "S person"
    assert [runner.run() for _ in range(3)] == ["P nightly", "P nightly", "S nightly"]


def test_what_holds_the_only_slot_is_as_urgent_as_who_waits_for_it() -> None:
    runner = Runner()
    runner.add("nightly", slots=1, priority=BACKGROUND)
    assert runner.run() == "P nightly"
    runner.add("person", slots=1)
    batch = runner.scheduler.next_batch(most_patient=0)
    assert batch is not None
    assert (kind(batch), batch.patient) == ("S nightly", False)
    runner.scheduler.ended(batch.live[0])
    runner.scheduler.finish(batch, 1.0)
    assert runner.run() == "P person"


NOTHING_NEW = {
    "an end in another lane": lambda scheduler: scheduler.discard("b", part(1)),
    "one that comes to a lane where others step": lambda scheduler: scheduler.add(in_part("c", 1)),
    "an end of its own, which the runner knows": lambda scheduler: scheduler.ended(in_part("z", 0)),
    "rows given up": lambda scheduler: scheduler.discard("rows", Lane("images", "shape", 8)),
}
NEWS = {
    "one of its own that is given up": lambda scheduler: scheduler.discard("a", part(0)),
    "one that comes to it": lambda scheduler: scheduler.add(in_part("c", 0)),
    "one that comes to a lane where nobody steps": lambda scheduler: scheduler.add(in_part("c", 2)),
    "rows": lambda scheduler: scheduler.add(
        Work("rows", RowCall(Capability.DECODE, {"z": np.zeros((1, 1))}), Lane("images", "shape", 8))
    ),
}


@pytest.mark.parametrize(
    ("slots", "groups", "expected"),
    [
        (3, "-", [0, 1, 0, 1, 0, 1, 0]),  # the one with the fewest; beyond the slots too
        (8, "a", [0, 0, 0, 0, 1, 1, 1, 1, 0, 0]),  # in packs
        (8, "ab", [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]),
        (3, "a", [0, 0, 0, 1, 1, 1, 0]),  # a slot to spare goes before one's own
    ],
)
def test_a_sequence_goes_where_its_group_is_and_there_is_room(slots: int, groups: str, expected: list[int]) -> None:
    scheduler, lanes = Scheduler(2), [replace(part(number), slots=slots) for number in (0, 1)]
    found = []
    for number in range(len(expected)):
        group = None if groups == "-" else groups[number % len(groups)]
        lane = min(lanes, key=lambda lane, group=group: scheduler.crowding(group, lane))  # type: ignore[misc]
        found.append(lane.part)
        scheduler.add(replace(in_part(number, lane.part), lane=lane, group=group))
    assert found == expected


def part(number: int) -> Lane:
    return Lane("text", (Capability.NEXT_TOKEN, number), 3, 3, part=number)


def in_part(owner: object, number: int) -> Work:
    return Work(owner, SequenceCall(np.zeros(1, np.int64), np.zeros(1)), part(number))


@pytest.mark.parametrize("what", [*NOTHING_NEW, *NEWS])
def test_steps_are_left_for_what_their_worker_must_see_and_no_more(what: str) -> None:
    scheduler = Scheduler(2)
    for number, owner in enumerate("ab"):
        scheduler.add(in_part(owner, number))
        assert scheduler.next_batch() is not None
    seen = scheduler.news(part(0))
    (NOTHING_NEW | NEWS)[what](scheduler)
    assert (scheduler.news(part(0)) != seen) == (what in NEWS)


def test_waiting_rows_counts_sequences() -> None:
    runner = Runner()
    runner.add(*"abcde")
    assert runner.scheduler.waiting_rows("text") == 5


@pytest.mark.parametrize("seed", range(40))
def test_sequences_step_together_and_none_is_lost(seed: int) -> None:
    """A random life of sequences, followed by a runner's book of slots: what it is told must always add up."""
    chance = random.Random(seed)
    scheduler = Scheduler()
    slots = chance.choice([1, 2, 5])
    steps_left: dict[int, int] = {}
    parts_left: dict[int, int] = {}
    cancelled: set[int] = set()
    ended: set[int] = set()
    stepping: set[int] = set()  # the runner's rows
    priority: dict[int, int] = {}
    prefilling: int | None = None

    def begin(owner: int, *, resumes: bool = False) -> None:
        parts_left[owner] = chance.choice([1, 1, 2, 5])
        priority[owner] = chance.choice([INTERACTIVE, BACKGROUND])
        scheduler.add(sequence(owner, slots, priority[owner], resumes=resumes))

    def give_up(owner: int) -> None:
        if owner not in ended:
            cancelled.add(owner)
            scheduler.discard(owner, lane(slots))

    def turn() -> bool:
        nonlocal prefilling
        batch = scheduler.next_batch()
        if batch is None:
            return False
        for owner in batch.left:
            stepping.discard(owner)
            prefilling = None if prefilling == owner else prefilling
        over: list[Work] = []
        if batch.prompt is not None:
            owner = batch.prompt.owner
            assert prefilling in (None, owner), "one prompt at a time"
            assert owner not in stepping
            prefilling = owner
            parts_left[owner] -= 1
        else:
            pressing = {owner for owner in stepping if priority[owner] == INTERACTIVE}
            assert {work.owner for work in batch.live} == (pressing or stepping), "a step holds all that do not rest"
        assert len(stepping) + (prefilling is not None) <= slots
        assert sum(priority[owner] for owner in stepping) <= max(1, slots // 2)
        assert not {work.owner for work in batch.works} & (cancelled | ended)
        if chance.random() < 0.15:  # somebody leaves while the batch runs
            give_up(chance.choice(list(steps_left)))
        if batch.prompt is not None and not parts_left[batch.prompt.owner]:
            prefilling = None
            stepping.add(batch.prompt.owner)
            scheduler.prompt_done(batch.prompt)
            over = [batch.prompt]
        for work in over or batch.live:
            steps_left[work.owner] -= 1
            if steps_left[work.owner] < 0:
                stepping.discard(work.owner)
                scheduler.ended(work)
                if work.owner in cancelled:
                    continue
                if chance.random() < 0.3:  # its context is full: it starts over
                    steps_left[work.owner] = 3
                    begin(work.owner, resumes=True)
                else:
                    ended.add(work.owner)
        scheduler.finish(batch, chance.random())
        return True

    for owner in range(25):
        steps_left[owner] = chance.choice([0, 1, 5, 20])
        begin(owner)
        for _ in range(chance.randrange(6)):
            turn()
        if chance.random() < 0.2:
            give_up(chance.choice(list(steps_left)))
    for _ in range(5000):
        if not turn():
            break
    assert ended | cancelled == set(range(25))
    assert not scheduler.runnable()
    assert scheduler.waiting_rows("text") == 0


def test_a_runner_that_broke_is_told_of_what_it_still_holds() -> None:
    runner = Runner()
    runner.add(*"abc")
    runner.until("S abc")
    batch = runner.scheduler.next_batch()
    assert batch is not None
    for work in batch.works:
        runner.scheduler.give_up(work)
    runner.scheduler.finish(batch, 1.0)
    runner.add("d")
    batch = runner.scheduler.next_batch()
    assert batch is not None
    assert (kind(batch), batch.left) == ("P d", ("a", "b", "c"))


def test_long_ones_wait_where_they_may_not_run_and_step_along_with_a_short_one() -> None:
    scheduler = Scheduler()
    long = sequence("a")
    long.long = True
    scheduler.add(long)
    assert not scheduler.runnable(most_long=0)
    batch = scheduler.next_batch(most_long=1)
    assert batch is not None
    assert (kind(batch), batch.long) == ("P a", True)
    scheduler.prompt_done(long)
    scheduler.finish(batch, 1.0)
    scheduler.add(sequence("b"))
    batch = scheduler.next_batch(most_long=0)
    assert batch is not None
    assert (kind(batch), batch.long) == ("S a", False)
