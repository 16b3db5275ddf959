"""The scheduler: who shares a batch, who goes first, and that nothing is lost or done twice."""

import itertools
import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from contract import Capability
from service.engine.batch import BACKGROUND, INTERACTIVE, Batch, Lane, Work
from service.engine.job import RowCall, SequenceCall
from service.engine.scheduler import Scheduler


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


class TestWhoeverCannotRunJustAny:
    def test_is_asked_about_the_batch_that_is_next(self) -> None:
        scheduler, asked = Scheduler(), []

        def fits(where: Lane, count: int) -> bool:
            asked.append((where.queue, count))
            return count <= 4

        for owner in "abcdef":
            scheduler.add(rows(owner, 2))
        assert scheduler.next_batch(fits=fits) is None
        assert asked == [("model", 8)], "no more rows than a batch has"
        assert taken(scheduler.next_batch()) == dict.fromkeys("abcdef", 1) | {"a": 2, "b": 2}, "nothing was changed"
        assert taken(scheduler.next_batch(fits=fits)) == dict.fromkeys("cdef", 1)

    def test_does_not_overtake_who_is_next(self) -> None:
        scheduler = Scheduler()
        scheduler.add(rows("short", 1, lane("had much")))
        scheduler.finish(scheduler.next_batch(), 5.0)
        scheduler.add(rows("long", 8, lane("had little")))
        scheduler.add(rows("long too", 8, lane("had little")))
        scheduler.add(rows("short", 1, lane("had much")))
        assert scheduler.next_batch(fits=lambda where, count: count < 4) is None


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


def walk(owner: object, steps: int) -> Work:
    """A job's next call of one row, which so many calls follow."""
    return Work(owner, RowCall(Capability.DECODE, {"z": np.zeros((1, 1))}, ahead=steps - 1), lane(max_rows=2))


class TestWalks:
    """Jobs of many steps, of which not all fit into a batch."""

    def test_who_would_end_first_by_sharing_goes_first(self) -> None:
        scheduler = Scheduler()
        for owner, steps in (("long", 50), ("longer", 60), ("short", 5), ("shorter", 4)):
            scheduler.add(walk(owner, steps))
        assert taken(scheduler.next_batch()) == {"short": 1, "shorter": 1}

    def test_a_long_one_is_not_overtaken_for_ever(self) -> None:
        """Short ones come without end, as many as there are rows."""
        scheduler, left = Scheduler(), 20
        scheduler.add(walk("long", left))
        for turn in range(2000):
            for n in range(2):
                scheduler.add(walk((turn, n), 1))
            batch = scheduler.next_batch()
            if taken(batch).get("long"):
                left -= 1
                if not left:
                    break
                scheduler.add(walk("long", left))
            scheduler.finish(batch, 1.0)  # type: ignore[arg-type]
        assert not left

    def test_what_was_given_up_does_not_count(self) -> None:
        """A thousand long walks that left keep nobody waiting."""
        scheduler = Scheduler()
        scheduler.add(walk("long", 20))
        for n in range(1000):
            gone = walk(n, 1000)
            scheduler.add(gone)
            scheduler.discard(n, gone.lane)
        for _ in range(10):
            batch = scheduler.next_batch()
            assert batch is not None
            scheduler.finish(batch, 1.0)
            scheduler.add(walk("long", 20))
        for n in range(2):
            scheduler.add(walk(("late", n), 15))
        assert "long" in taken(scheduler.next_batch()), "it has had 10 of its 20 steps, the others none of 15"


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

    def test_no_more_batches_of_it_are_in_flight_than_it_may_have(self) -> None:
        scheduler = Scheduler()
        scheduler.add(rows("nightly", 100, lane("a"), BACKGROUND))
        assert not scheduler.runnable(most_patient=0)
        assert scheduler.next_batch(most_patient=0) is None
        first = scheduler.next_batch(most_patient=1)
        assert first is not None
        assert first.patient
        assert scheduler.next_batch(most_patient=1) is None
        scheduler.add(rows("person", 1, lane("a")))
        batch = scheduler.next_batch(most_patient=0)
        assert taken(batch) == {"person": 1}
        assert batch is not None
        assert not batch.patient
        scheduler.finish(first, 1.0)
        assert scheduler.next_batch(most_patient=1) is not None

    def test_its_batches_have_a_bound_of_their_own(self) -> None:
        scheduler = Scheduler()
        scheduler.add(rows("nightly", 10, replace(lane("a"), patient=2), BACKGROUND))
        assert taken(scheduler.next_batch()) == {"nightly": 2}
        scheduler.add(rows("person", 10, replace(lane("a"), patient=2)))
        assert taken(scheduler.next_batch()) == {"person": 8}

    def test_what_is_overdue_goes_first(self) -> None:
        scheduler = Scheduler()
        scheduler.add(rows("person", 8, lane("a")))
        scheduler.add(rows("nightly", 8, lane("b"), BACKGROUND))
        assert taken(scheduler.next_batch(most_patient=0, overdue=True)) == {"person": 8}, "it may have no worker now"
        scheduler.add(rows("person", 8, lane("a")))
        batch = scheduler.next_batch(most_patient=1, overdue=True)
        assert taken(batch) == {"nightly": 8}
        assert batch is not None
        assert batch.patient
        assert taken(scheduler.next_batch(most_patient=1, overdue=True)) == {"person": 8}

    def test_what_is_overdue_goes_before_others_of_its_lane_and_alone(self) -> None:
        scheduler = Scheduler()
        scheduler.add(rows("person", 1))
        scheduler.add(rows("nightly", 4, priority=BACKGROUND))
        assert taken(scheduler.next_batch(overdue=True)) == {"nightly": 4}
        assert taken(scheduler.next_batch(overdue=True)) == {"person": 1}

    def test_what_waits_in_it_leaves_an_interactive_batch_alone(self) -> None:
        scheduler = Scheduler()
        scheduler.add(rows("nightly", 1, lane("a"), BACKGROUND))
        scheduler.add(rows("person", 1, lane("b")))
        batch = scheduler.next_batch()
        assert batch is not None
        assert batch.alone
        scheduler.finish(batch, 1.0)
        batch = scheduler.next_batch()
        assert batch is not None
        assert not batch.alone, "all cores would be taken when somebody comes"


class TestLongOnes:
    def long(self, owner: object, where: Lane | None = None, count: int = 100) -> Work:
        work = rows(owner, count, where)
        work.long = True
        return work

    def test_no_more_of_their_batches_are_in_flight_than_they_may_have(self) -> None:
        scheduler = Scheduler()
        scheduler.add(self.long("a", lane("one")))
        scheduler.add(self.long("b", lane("two")))
        first = scheduler.next_batch(most_long=1)
        assert first is not None
        assert first.long
        assert not scheduler.runnable(most_long=1)
        assert scheduler.next_batch(most_long=1) is None
        assert scheduler.next_batch() is not None, "without a bound they may have every worker"
        scheduler.finish(first, 1.0)
        assert scheduler.next_batch(most_long=1) is None, "the other one is in flight still"

    def test_a_short_one_is_never_held_back(self) -> None:
        scheduler = Scheduler()
        scheduler.add(self.long("a", lane("one")))
        scheduler.next_batch(most_long=1)
        scheduler.add(rows("short", 1, lane("two")))
        batch = scheduler.next_batch(most_long=1)
        assert taken(batch) == {"short": 1}
        assert batch is not None
        assert not batch.long

    def test_those_of_its_own_lane_do_not_ride_along_then(self) -> None:
        scheduler = Scheduler()
        scheduler.add(self.long("a"))
        scheduler.next_batch(most_long=1)
        for _ in range(2):
            scheduler.add(rows("short", 1))
            assert taken(scheduler.next_batch(most_long=1)) == {"short": 1}

    def test_they_and_short_ones_of_their_lane_take_turns(self) -> None:
        scheduler = Scheduler()
        scheduler.add(self.long("a"))
        scheduler.add(self.long("b"))
        for owner in ("x", "y"):
            scheduler.add(rows(owner, 1))
        assert taken(scheduler.next_batch()) == {"x": 1, "y": 1}, "no worker is kept from them by what rides along"
        scheduler.add(rows("z", 1))
        assert taken(scheduler.next_batch()) == {"a": 4, "b": 4}, "a crowd of short ones does not stop them"
        assert taken(scheduler.next_batch()) == {"z": 1}

    def test_nothing_of_them_is_lost(self) -> None:
        scheduler = Scheduler()
        scheduler.add(self.long("a", count=20))
        total = 0
        while (batch := scheduler.next_batch(most_long=1)) is not None:
            total += batch.rows
            scheduler.finish(batch, 1.0)
        assert total == 20


def test_one_call_fills_no_more_of_a_batch_than_its_part() -> None:
    scheduler = Scheduler()
    where = Lane("model", "shape", 16, each=4)
    scheduler.add(rows("large", 100, where))
    assert taken(scheduler.next_batch()) == {"large": 4}
    for owner in "abcdef":
        scheduler.add(rows(owner, 1, where))
    assert taken(scheduler.next_batch()) == {"large": 4, **dict.fromkeys("abcdef", 1)}


class TestCrowd:
    """Many small calls: two workers have three batches of them, of which one waits while the others run."""

    def crowd(self, count: int, where: Lane) -> Scheduler:
        scheduler = Scheduler(workers=2)
        for number in range(count):
            scheduler.add(rows(number, 1, where))
        return scheduler

    def sizes(self, scheduler: Scheduler) -> list[int]:
        found = []
        while (batch := scheduler.next_batch()) is not None:
            found.append(batch.rows)
        return found

    def test_is_cut_into_one_batch_more_than_there_are_workers(self) -> None:
        assert self.sizes(self.crowd(48, Lane("model", "shape", 64, enough=4))) == [16, 16, 16]

    def test_what_runs_is_a_part_of_it(self) -> None:
        where = Lane("model", "shape", 64, enough=1)
        scheduler = self.crowd(12, where)
        first = scheduler.next_batch()
        assert first is not None
        assert first.rows == 4
        for number in range(12, 20):
            scheduler.add(rows(number, 1, where))
        assert taken(scheduler.next_batch()) == dict.fromkeys(range(4, 11), 1), "a third of 16 that wait and 4 that run"
        scheduler.finish(first, 1.0)
        second = scheduler.next_batch()
        assert second is not None
        assert second.rows == 6, "a third of 9 and 7"

    def test_batches_are_no_smaller_than_makes_them_slower(self) -> None:
        assert self.sizes(self.crowd(48, Lane("model", "shape", 64, enough=32))) == [32, 16]
        assert self.sizes(self.crowd(48, Lane("model", "shape", 64))) == [48], "of which nothing was measured"

    def test_idle_workers_share_it_where_halves_are_faster(self) -> None:
        assert self.sizes(self.crowd(8, Lane("model", "shape", 64, enough=32, few=1))) == [4, 4]
        assert self.sizes(self.crowd(8, Lane("model", "shape", 64, enough=32, few=6))) == [6, 2]
        assert self.sizes(self.crowd(8, Lane("model", "shape", 64, enough=32, few=32))) == [8]

    @pytest.mark.parametrize(("count", "batches"), [(9, [8, 1]), (13, [12, 1]), (31, [31]), (47, [47]), (52, [48, 4])])
    def test_little_of_a_batch_is_padding(self, count: int, batches: list[int]) -> None:
        where = Lane("model", "shape", 64, enough=64, sizes=(1, 2, 4, 8, 12, 16, 24, 32, 48, 64))
        assert self.sizes(self.crowd(count, where)) == batches

    def test_a_call_that_is_alone_is_not_cut(self) -> None:
        scheduler = Scheduler(workers=2)
        scheduler.add(rows("one", 13, Lane("model", "shape", 64, enough=1, sizes=(1, 2, 4, 8, 12, 16))))
        assert self.sizes(scheduler) == [13]

    def test_a_large_call_counts_as_its_part(self) -> None:
        where = Lane("model", "shape", 64, each=8, enough=1)
        scheduler = self.crowd(4, where)
        scheduler.add(rows("large", 1000, where))
        assert taken(scheduler.next_batch()) == dict.fromkeys(range(4), 1), "a third of 12"


def test_several_runs_are_shared_among_the_idle_workers() -> None:
    scheduler, where = Scheduler(workers=3), Lane("model", "shape", 64, at_once=4)
    scheduler.add(rows("large", 90, where))
    assert taken(scheduler.next_batch()) == {"large": 32}, "a third of it, in whole runs"
    assert taken(scheduler.next_batch()) == {"large": 32}, "half of the rest"
    assert taken(scheduler.next_batch()) == {"large": 26}
    scheduler.add(rows("next", 90, where))
    assert taken(scheduler.next_batch()) == {"next": 64}, "nobody else is idle"


def test_of_several_runs_small_calls_get_all_and_large_ones_have_them_in_turn() -> None:
    scheduler, where = Scheduler(), Lane("model", "shape", 32, at_once=4)
    for owner, count in (("a", 100), ("b", 100), ("small", 3), ("c", 100)):
        scheduler.add(rows(owner, count, where))
    assert taken(scheduler.next_batch()) == {"small": 3, "a": 29}
    assert [taken(scheduler.next_batch()) for _ in range(4)] == [{"b": 32}, {"c": 32}, {"a": 32}, {"b": 32}]


class TestAlone:
    def test_a_batch_is_alone_where_nothing_else_runs_or_waits(self) -> None:
        scheduler = Scheduler()
        scheduler.add(rows("a", 3))
        batch = scheduler.next_batch()
        assert batch is not None
        assert batch.alone
        scheduler.add(rows("b", 1, lane("other")))
        beside = scheduler.next_batch()
        assert beside is not None
        assert not beside.alone, "the first one still runs"
        scheduler.finish(batch, 1.0)
        scheduler.finish(beside, 1.0)

    def test_the_first_part_of_a_large_call_is_not_alone(self) -> None:
        scheduler = Scheduler()
        scheduler.add(rows("a", 9))
        first = scheduler.next_batch()
        assert first is not None
        assert not first.alone
        scheduler.finish(first, 1.0)
        last = scheduler.next_batch()
        assert last is not None
        assert last.alone

    @pytest.mark.parametrize("long", [False, True], ids=["short", "long"])
    def test_sequences_are_while_a_worker_is_kept_free_unless_they_are_long(self, long: bool) -> None:
        scheduler, text = Scheduler(workers=2), Lane("text", Capability.NEXT_TOKEN, 4, 4)
        call = SequenceCall(np.zeros(1, np.int64), np.zeros(1))
        scheduler.add(Work("a text", call, text, long=long))
        batch = scheduler.next_batch(most_long=1)
        assert batch is not None
        assert batch.alone is not long

    def test_rows_are_not_while_a_worker_is_kept_free(self) -> None:
        scheduler = Scheduler(workers=2)
        scheduler.add(rows("a", 1))
        batch = scheduler.next_batch(most_long=1)
        assert batch is not None
        assert not batch.alone


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
