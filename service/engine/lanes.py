"""Which calls can share a batch, and how large it may be."""

from service.engine.batch import Lane
from service.engine.job import Call, LoneCall, RowCall
from service.engine.limits import Limits
from service.engine.pace import Pace
from service.engine.sequences import SequenceRunner
from service.engine.ticket import Model


def lane_of(model: Model, call: Call, limits: Limits, pace: Pace) -> Lane:
    """The lane that a call waits in, with its limits by the pace that was measured so far."""
    runner = model.runners[call.capability]
    if isinstance(call, LoneCall):
        assert isinstance(runner, SequenceRunner), "rows share batches"
        return Lane(model.key, (call.capability, LoneCall), 1)
    if isinstance(runner, SequenceRunner):
        return Lane(model.key, call.capability, runner.slots, runner.slots)
    assert isinstance(call, RowCall), "the contract keeps sequences and rows apart"
    elements = max(1, sum(a[:1].size for a in call.inputs.values()))
    most = min(limits.rows, runner.max_rows, max(1, limits.elements // elements))
    lane = Lane(model.key, (call.capability, call.shape), most)
    seconds = (limits.batch_seconds, limits.call_seconds, limits.patient_seconds)
    rows, each, patient = (runner.whole(pace.rows_within(lane, s, most)) for s in seconds)
    if call.ahead:  # more rows at a time would only delay those that are to end first
        rows = min(rows, runner.whole(pace.knee(lane, most)))
    return Lane(lane.queue, lane.key, rows, each=each, patient=patient)
