"""Which calls can share a batch, and how large it may be."""

from service.engine.batch import Lane
from service.engine.job import Call, RowCall
from service.engine.limits import Limits
from service.engine.pace import Pace
from service.engine.sequences import SequenceRunner
from service.engine.ticket import Model


def lane_of(model: Model, call: Call, limits: Limits, pace: Pace) -> Lane:
    """The lane that a call waits in, with its limits by the pace that was measured so far."""
    runner = model.runners[call.capability]
    if isinstance(runner, SequenceRunner):
        return Lane(model.key, call.capability, runner.slots, runner.slots)
    assert isinstance(call, RowCall), "the contract keeps sequences and rows apart"
    elements = max(1, sum(a[:1].size for a in call.inputs.values()))
    most = min(limits.rows, runner.max_rows, max(1, limits.elements // elements))
    lane = Lane(model.key, (call.capability, call.shape), most)
    rows, each = (pace.rows_within(lane, s, most) for s in (limits.batch_seconds, limits.call_seconds))
    return Lane(lane.queue, lane.key, runner.whole(rows), each=runner.whole(each))
