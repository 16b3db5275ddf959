"""Which calls can share a batch, and how large it may be."""

from collections.abc import Callable
from functools import partial
from typing import Any

from service.engine.batch import Lane
from service.engine.job import Call, LoneCall, RowCall
from service.engine.limits import Limits
from service.engine.pace import Pace
from service.engine.sequence_parts import Sequences
from service.engine.sizes import whole
from service.engine.ticket import Model

_HARDLY = 1.1  # times as long for a row as in the best batch: not worth waiting for more
_HALF = 1.4  # less than twice, with something left for what is around a batch: two halves are faster than the whole


def lane_of(
    model: Model, call: Call, limits: Limits, pace: Pace, crowding: Callable[[Any, Lane], Any], group: Any
) -> Lane:
    """The lane that a call waits in, with its limits by the pace that was measured so far. A sequence's is that of the part
    with the least `crowding` for one of its group."""
    runner = model.runners[call.capability]
    if isinstance(call, LoneCall):
        assert isinstance(runner, Sequences), "rows share batches"
        return Lane(model.key, (call.capability, LoneCall), 1)
    if isinstance(runner, Sequences):
        parts = [
            Lane(model.key, (call.capability, i), part.slots, slots=part.slots, part=i)
            for i, part in enumerate(runner.parts)
        ]
        return min(parts, key=partial(crowding, group)) if len(parts) > 1 else parts[0]
    assert isinstance(call, RowCall), "the contract keeps sequences and rows apart"
    key, ahead = (call.capability, call.shape), call.ahead > 0
    known = pace.lanes.get((ahead, key))
    if known is not None:
        return known
    elements = max(1, sum(a[:1].size for a in call.inputs.values()))
    room = max(1, limits.elements // elements)
    most = min(limits.rows, runner.max_rows, room)
    lane = Lane(model.key, key, most)
    at_once = whole(pace.rows_within(lane, limits.batch_seconds, most), runner.sizes)
    run_seconds = pace.seconds_of(lane, at_once)
    rows = min(room, int(limits.runs_seconds / run_seconds) * at_once if run_seconds else 0)
    if rows > at_once and not ahead:  # runs so short that several of them are within every bound on a batch's time
        pace.lanes[ahead, key] = lane = Lane(model.key, key, rows, each=rows, patient=rows, at_once=at_once)
        return lane
    each, patient = (
        whole(pace.rows_within(lane, seconds, most), runner.sizes)
        for seconds in (limits.call_seconds, limits.patient_seconds)
    )
    enough, few = (whole(pace.knee(lane, most, slower), runner.sizes) for slower in (_HARDLY, _HALF))
    if ahead:  # more rows at a time would only delay those that are to end first
        at_once = min(at_once, enough)
    pace.lanes[ahead, key] = lane = Lane(
        model.key,
        key,
        at_once,
        each=each,
        patient=patient,
        at_once=at_once,
        enough=enough,
        few=few,
        sizes=runner.sizes,
    )
    return lane
