"""The scheduler: who shares a batch, who goes first, and that nothing is lost or done twice."""

import itertools
import random
from collections import Counter

import numpy as np
import pytest

from contract import Capability
from service.engine.job import RowCall, Sampling, TokenCall
from service.engine.scheduler import BACKGROUND, INTERACTIVE, Batch, Lane, Scheduler, Work


def lane(queue: str = "model", key: str = "shape", max_rows: int = 8) -> Lane:
    return Lane(queue, key, max_rows)


def rows(owner: object, count: int, where: Lane | None = None, priority: int = INTERACTIVE) -> Work:
    return Work(owner, RowCall(Capability.DECODE, {"z": np.zeros((count, 1))}), where or lane(), priority)


def taken(batch: Batch | None) -> dict:
    assert batch is not None
    counts: Counter = Counter()
    for piece in batch.pieces:
        counts[piece.work.owner] += piece.stop - piece.start
    return dict(counts)


class TestRows:
    def test_calls_share_a_batch_up_to_its_limit(self) -> None:
        scheduler = Scheduler()
        for owner in "abc":
            scheduler.add(rows(owner, 2))
        assert taken(scheduler.next_batch()) == {"a": 2, "b": 2, "c": 2}
        assert scheduler.next_batch() is None

    def test_a_large_call_does_not_hold_up_a_small_one_behind_it(self) -> None:
        scheduler = Scheduler()
        scheduler.add(rows("large", 1000))
        scheduler.next_batch()
        scheduler.add(rows("small", 1))
        assert taken(scheduler.next_batch())["small"] == 1

    def test_large_calls_share_evenly(self) -> None:
        scheduler = Scheduler()
        for owner in "abcd":
            scheduler.add(rows(owner, 100))
        assert taken(scheduler.next_batch()) == dict.fromkeys("abcd", 2)

    def test_the_last_in_line_takes_what_the_others_leave(self) -> None:
        scheduler = Scheduler()
        scheduler.add(rows("small", 1))
        scheduler.add(rows("large", 100))
        assert taken(scheduler.next_batch()) == {"small": 1, "large": 7}

    def test_what_the_small_ones_leave_goes_to_the_large_one_before_them(self) -> None:
        scheduler = Scheduler()
        scheduler.add(rows("large", 100))
        scheduler.add(rows("small", 1))
        assert taken(scheduler.next_batch()) == {"large": 7, "small": 1}

    def test_more_calls_than_rows_take_turns(self) -> None:
        scheduler = Scheduler()
        for owner in range(20):
            scheduler.add(rows(owner, 2))
        served = Counter()
        for _ in range(5):  # 40 rows in batches of 8: everybody once, then everybody again
            for owner, count in taken(scheduler.next_batch()).items():
                assert count == 1
                served[owner] += count
            assert max(served.values()) - min(served[o] for o in range(20)) <= 1

    def test_a_call_is_cut_into_consecutive_pieces(self) -> None:
        scheduler = Scheduler()
        scheduler.add(rows("a", 19))
        pieces = [p for _ in range(3) for p in scheduler.next_batch().pieces]  # type: ignore[union-attr]
        assert [(p.start, p.stop) for p in pieces] == [(0, 8), (8, 16), (16, 19)]

    def test_rows_of_different_shapes_never_share_a_batch(self) -> None:
        scheduler = Scheduler()
        for i in range(12):
            scheduler.add(rows(i, 3, lane(key="wide" if i % 2 else "tall")))
        while (batch := scheduler.next_batch()) is not None:
            assert {piece.work.lane for piece in batch.pieces} == {batch.lane}

    def test_the_lanes_of_a_queue_take_turns(self) -> None:
        scheduler = Scheduler()
        for key in "xyz":
            scheduler.add(rows(key, 16, lane(key=key)))
        order = [scheduler.next_batch().lane.key for _ in range(6)]  # type: ignore[union-attr]
        assert order == ["x", "y", "z", "x", "y", "z"]

    def test_the_latest_limit_of_a_lane_counts(self) -> None:
        scheduler = Scheduler()
        scheduler.add(rows("a", 10, lane(max_rows=2)))
        scheduler.add(rows("b", 10, lane(max_rows=16)))
        batch = scheduler.next_batch()
        assert batch is not None
        assert batch.rows == 16

    def test_waiting_rows_counts_what_is_in_no_batch(self) -> None:
        scheduler = Scheduler()
        assert scheduler.waiting_rows("model") == 0
        scheduler.add(rows("a", 10))
        scheduler.add(rows("b", 3, lane(key="other")))
        scheduler.next_batch()
        assert scheduler.waiting_rows("model") == 5

    def test_discard_forgets_what_waits_and_is_harmless_for_strangers(self) -> None:
        scheduler = Scheduler()
        a, b = "ab"
        scheduler.add(rows(a, 20))
        scheduler.add(rows(b, 20))
        scheduler.next_batch()
        scheduler.discard(a, lane())
        scheduler.discard("nobody", lane(key="never seen"))
        scheduler.discard("nobody", None)
        assert taken(scheduler.next_batch()) == {b: 8}
        assert scheduler.waiting_rows("model") == 8

    def test_cancelled_shapes_are_not_remembered(self) -> None:
        """Image sizes are the client's choice: a lane for each that ever waited would grow without end."""
        scheduler = Scheduler()
        for i in range(50):
            scheduler.add(rows(i, 1, lane(key=f"size {i}")))
            scheduler.discard(i, lane(key=f"size {i}"))
        assert sum(len(queue.lanes) for queue in scheduler._queues.values()) <= 1


class TestPriorities:
    def test_background_waits_for_interactive_work_of_every_queue(self) -> None:
        scheduler = Scheduler()
        scheduler.add(rows("nightly", 8, lane("a"), BACKGROUND))
        scheduler.add(rows("also nightly", 8, lane("b"), BACKGROUND))
        scheduler.add(rows("person", 16, lane("b"), INTERACTIVE))
        order = [set(taken(scheduler.next_batch())) for _ in range(4)]
        assert order[:2] == [{"person"}, {"person"}]
        assert set().union(*order[2:]) == {"nightly", "also nightly"}
        assert scheduler.next_batch() is None

    def test_background_never_rides_along_in_a_batch(self) -> None:
        scheduler = Scheduler()
        scheduler.add(rows("nightly", 4, priority=BACKGROUND))
        scheduler.add(rows("person", 1))
        assert taken(scheduler.next_batch()) == {"person": 1}


def serve(scheduler: Scheduler, cost: dict[str, float], seconds: float) -> Counter:
    """Run batches for so long. Returns the time that each queue had."""
    used: Counter = Counter()
    while used.total() < seconds:
        batch = scheduler.next_batch()
        assert batch is not None
        queue = batch.lane.queue
        used[queue] += cost[queue]
        scheduler.finish(batch, cost[queue])
    return used


class TestFairness:
    def test_queues_get_equal_time_however_dear_their_batches(self) -> None:
        scheduler = Scheduler()
        cost = {"dear": 3.0, "cheap": 0.5, "middling": 1.0}
        for queue in cost:
            scheduler.add(rows(queue, 10**6, lane(queue)))
        used = serve(scheduler, cost, 300)
        assert max(used.values()) - min(used.values()) <= max(cost.values())

    def test_a_newcomer_does_not_make_up_for_time_before_it_came(self) -> None:
        scheduler = Scheduler()
        cost = {"old": 1.0, "new": 1.0}
        scheduler.add(rows("old", 10**6, lane("old")))
        serve(scheduler, cost, 100)
        scheduler.add(rows("new", 10**6, lane("new")))
        used = serve(scheduler, cost, 10)
        assert used["old"] == pytest.approx(used["new"], abs=1)

    def test_a_queue_that_slept_does_not_make_up_for_its_sleep(self) -> None:
        scheduler = Scheduler()
        cost = {"steady": 1.0, "sleepy": 1.0}
        scheduler.add(rows("sleepy", 1, lane("sleepy")))
        scheduler.add(rows("steady", 10**6, lane("steady")))
        serve(scheduler, cost, 100)
        scheduler.add(rows("sleepy", 10**6, lane("sleepy")))
        used = serve(scheduler, cost, 10)
        assert used["steady"] == pytest.approx(used["sleepy"], abs=1)

    def test_one_large_backlog_leaves_room_for_many_small_models(self) -> None:
        scheduler = Scheduler()
        scheduler.add(rows("flood", 10**6, lane("flood")))
        for i in range(10):
            scheduler.add(rows(i, 1, lane(f"small {i}")))
        served = []
        for _ in range(11):
            batch = scheduler.next_batch()
            assert batch is not None
            served.append(batch.lane.queue)
            scheduler.finish(batch, 1.0)
        assert len(set(served)) == 11


def prompt(
    owner: object, tokens: int, slots: int = 3, chunk: int = 4, priority: int = INTERACTIVE, group: object = None
) -> Work:
    call = TokenCall(np.arange(tokens), 0.5, Sampling())
    return Work(owner, call, Lane("text", Capability.NEXT_TOKEN, slots, slots, chunk), priority, group=group)


def step(owner: object, slots: int = 3, chunk: int = 4) -> Work:
    call = TokenCall(np.zeros(1, np.int64), 0.5)
    return Work(owner, call, Lane("text", Capability.NEXT_TOKEN, slots, slots, chunk))


def kind(batch: Batch | None) -> str:
    """`P a 0:4` for a chunk of a prompt, `S ab` for a step."""
    if batch is None:
        return "-"
    if batch.prefill:
        (piece,) = batch.pieces
        return f"P {piece.work.owner} {piece.start}:{piece.stop}"
    return "S " + "".join(sorted(str(piece.work.owner) for piece in batch.pieces))


class TestSequences:
    def run(self, scheduler: Scheduler, then: str = "step") -> str:
        """One batch; its owners ask for another token where they have their whole answer."""
        batch = scheduler.next_batch()
        if batch is None:
            return "-"
        for piece in batch.pieces:
            if piece.stop == piece.work.call.size and then == "step":
                scheduler.add(step(piece.work.owner))
        scheduler.finish(batch, 1.0)
        return kind(batch)

    def test_a_prompt_is_computed_in_chunks_and_then_steps(self) -> None:
        scheduler = Scheduler()
        scheduler.add(prompt("a", 10))
        assert [self.run(scheduler) for _ in range(5)] == ["P a 0:4", "P a 4:8", "P a 8:10", "S a", "S a"]

    def test_the_others_step_between_two_chunks(self) -> None:
        scheduler = Scheduler()
        scheduler.add(prompt("a", 1))
        self.run(scheduler)
        scheduler.add(prompt("b", 12))
        order = [self.run(scheduler) for _ in range(7)]
        assert order == ["S a", "P b 0:4", "S a", "P b 4:8", "S a", "P b 8:12", "S ab"]

    def test_no_more_sequences_than_slots(self) -> None:
        scheduler = Scheduler()
        for owner in "abcde":
            scheduler.add(prompt(owner, 1))
        order = [self.run(scheduler) for _ in range(8)]
        assert not any("d" in batch or "e" in batch for batch in order)
        assert order[-1] == "S abc"

    def test_a_sequence_that_ends_makes_room_and_is_told_once(self) -> None:
        scheduler = Scheduler()
        a, b, c, d = "abcd"
        for owner in (a, b, c, d):
            scheduler.add(prompt(owner, 1))
        while self.run(scheduler) != "S abc":
            pass
        scheduler.discard(b, step(b).lane)
        batch = scheduler.next_batch()
        assert batch is not None
        assert (kind(batch), batch.left) == ("P d 0:1", (b,))
        scheduler.add(step(d))
        scheduler.finish(batch, 1.0)
        batch = scheduler.next_batch()
        assert batch is not None
        assert (kind(batch), batch.left) == ("S acd", ())

    def test_only_one_batch_is_in_flight(self) -> None:
        scheduler = Scheduler()
        scheduler.add(prompt("a", 8))
        scheduler.add(prompt("b", 8))
        batch = scheduler.next_batch()
        assert scheduler.next_batch() is None
        assert not scheduler.runnable()
        assert batch is not None
        scheduler.finish(batch, 1.0)
        assert scheduler.runnable()

    def test_a_sequence_that_starts_over_leaves_and_keeps_its_turn(self) -> None:
        scheduler = Scheduler()
        a, b, c = "abc"
        for owner in (a, b, c):
            scheduler.add(prompt(owner, 1))
        while self.run(scheduler) != "S abc":
            pass
        scheduler.add(prompt("waiting", 1))
        batch = scheduler.next_batch()
        assert batch is not None
        scheduler.add(prompt(a, 6))
        for owner in (b, c):
            scheduler.add(step(owner))
        scheduler.finish(batch, 1.0)
        batches = []
        for _ in range(2):
            batch = scheduler.next_batch()
            assert batch is not None
            batches.append((kind(batch), batch.left))
            for piece in batch.pieces:
                if piece.stop == piece.work.call.size:
                    scheduler.add(step(piece.work.owner))
            scheduler.finish(batch, 1.0)
        assert batches == [("P a 0:4", (a,)), ("S bc", ())]

    def test_a_request_for_many_sequences_does_not_hold_up_one_for_few(self) -> None:
        scheduler = Scheduler()
        many = [f"many{i}" for i in range(8)]
        for owner in many:
            scheduler.add(prompt(owner, 1, group="many"))
        while self.run(scheduler) != "S many0many1many2":
            pass
        few = "few"
        scheduler.add(prompt(few, 1, group="few"))
        scheduler.discard(many[0], step(few).lane)
        assert self.run(scheduler) == "P few 0:1"
        scheduler.discard(few, step(few).lane)
        self.run(scheduler)
        assert self.run(scheduler) == "P many3 0:1", "a slot that nobody else wants goes to whoever waits"

    def test_requests_for_many_sequences_share_the_slots(self) -> None:
        scheduler = Scheduler()
        owners = [f"{group}{i}" for group in "ab" for i in range(8)]
        for owner in owners:
            scheduler.add(prompt(owner, 1, slots=4, group=owner[0]))
        order = [self.run(scheduler) for _ in range(9)]
        assert order[-1] == "S a0a1b0b1"

    def test_a_sequence_that_starts_over_goes_before_a_newcomer_with_fewer(self) -> None:
        scheduler = Scheduler()
        a, b, c = "abc"
        for owner in (a, b, c):
            scheduler.add(prompt(owner, 1, group="many"))
        while self.run(scheduler) != "S abc":
            pass
        scheduler.add(prompt("new", 1))
        batch = scheduler.next_batch()
        assert batch is not None
        scheduler.add(prompt(a, 6, group="many"))
        scheduler.finish(batch, 1.0)
        assert kind(scheduler.next_batch()) == "P a 0:4"

    def test_a_prompt_that_is_given_up_half_way_makes_room(self) -> None:
        scheduler = Scheduler()
        a, b = "ab"
        scheduler.add(prompt(a, 12))
        scheduler.add(prompt(b, 2))
        self.run(scheduler)
        scheduler.discard(a, step(a).lane)
        batch = scheduler.next_batch()
        assert batch is not None
        assert (kind(batch), batch.left) == ("P b 0:2", (a,))

    def test_background_prompts_wait_for_interactive_ones(self) -> None:
        scheduler = Scheduler()
        scheduler.add(prompt("nightly", 1, priority=BACKGROUND))
        scheduler.add(prompt("person", 1))
        assert self.run(scheduler) == "P person 0:1"

    def test_waiting_rows_counts_sequences(self) -> None:
        scheduler = Scheduler()
        for owner in "abcde":
            scheduler.add(prompt(owner, 3))
        assert scheduler.waiting_rows("text") == 5


@pytest.mark.parametrize("seed", range(40))
def test_every_row_is_handed_out_exactly_once(seed: int) -> None:
    """Random calls, batches and cancellations, several batches in flight."""
    chance = random.Random(seed)
    scheduler = Scheduler()
    numbers = itertools.count()
    sizes: dict[int, int] = {}
    seen: dict[int, list[tuple[int, int]]] = {}
    where: dict[int, Lane] = {}
    cancelled: set[int] = set()
    flying: list[Batch] = []

    def turn() -> bool:
        batch = scheduler.next_batch()
        if batch is None:
            return False
        flying.append(batch)
        assert 0 < batch.rows <= 8
        for piece in batch.pieces:
            assert piece.work.owner not in cancelled
            assert piece.work.lane == batch.lane
            assert piece.stop > piece.start
            seen[piece.work.owner].append((piece.start, piece.stop))
        return True

    for _ in range(300):
        act = chance.random()
        if act < 0.35:
            owner = next(numbers)
            where[owner] = lane(chance.choice("ab"), chance.choice("xy"))
            sizes[owner], seen[owner] = chance.choice([1, 2, 3, 7, 20, 60]), []
            scheduler.add(rows(owner, sizes[owner], where[owner], chance.choice([INTERACTIVE, BACKGROUND])))
        elif act < 0.42 and sizes:
            owner = chance.choice(list(sizes))
            cancelled.add(owner)
            scheduler.discard(owner, where[owner])
        elif act < 0.8:
            turn()
        elif flying:
            scheduler.finish(flying.pop(chance.randrange(len(flying))), chance.random())
    while turn():
        scheduler.finish(flying.pop(), chance.random())
    for owner, pieces in seen.items():
        edges = [edge for piece in pieces for edge in piece]
        assert edges == sorted(edges)
        assert edges[1:-1:2] == edges[2::2], "pieces follow each other without a gap"
        if owner not in cancelled:
            assert (edges[0], edges[-1]) == (0, sizes[owner])
    assert not scheduler.runnable()
    assert all(scheduler.waiting_rows(queue) == 0 for queue in "ab")


@pytest.mark.parametrize("seed", range(40))
def test_sequences_step_together_and_none_is_lost(seed: int) -> None:
    """A random life of sequences, followed by a runner's book of slots: what it is told must always add up."""
    chance = random.Random(seed)
    scheduler = Scheduler()
    slots, chunk = chance.choice([1, 2, 5]), chance.choice([1, 3, 64])
    lane_of = step("x", slots, chunk).lane
    steps_left: dict[int, int] = {}
    cancelled: set[int] = set()
    ended: set[int] = set()
    stepping: list[int] = []  # the runner's rows
    prefilling: tuple[int, int] | None = None  # owner and the tokens that are in

    def begin(owner: int) -> None:
        scheduler.add(prompt(owner, chance.choice([1, 2, 3, 10, 70]), slots, chunk, chance.choice([0, 1])))

    def give_up(owner: int) -> None:
        cancelled.add(owner)
        scheduler.discard(owner, lane_of)

    def turn() -> bool:
        nonlocal prefilling
        batch = scheduler.next_batch()
        if batch is None:
            return False
        for owner in batch.left:
            if prefilling and prefilling[0] == owner:
                prefilling = None
            elif owner in stepping:
                stepping.remove(owner)
        if batch.prefill:
            (piece,) = batch.pieces
            owner = piece.work.owner
            assert piece.stop - piece.start <= chunk
            assert piece.start == (prefilling[1] if prefilling else 0)
            assert prefilling is None or prefilling[0] == owner, "one prompt at a time"
            assert owner not in stepping
            prefilling = (owner, piece.stop)
            if piece.stop == piece.work.call.size:
                stepping.append(owner)
                prefilling = None
        else:
            assert {p.work.owner for p in batch.pieces} == set(stepping), "a step holds every live sequence"
            assert len(batch.pieces) == len(stepping)
        assert len(stepping) + (prefilling is not None) <= slots
        assert not {p.work.owner for p in batch.pieces} & (cancelled | ended)
        if steps_left and chance.random() < 0.15:  # somebody leaves while the batch runs
            give_up(chance.choice(list(steps_left)))
        for piece in batch.pieces:
            owner = piece.work.owner
            if owner in cancelled or piece.stop < piece.work.call.size:
                continue
            steps_left[owner] -= 1
            if steps_left[owner] < 0:
                ended.add(owner)
                scheduler.discard(owner, lane_of)
            elif chance.random() < 0.1:
                begin(owner)  # its context is full: it starts over
            else:
                scheduler.add(step(owner, slots, chunk))
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
