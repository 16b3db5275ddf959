"""Jobs in lock step get their own rows and give their own results, whenever they end."""

import numpy as np

from benchmarks.diffusion_mixed import lock_step
from contract import Capability
from service.engine.job import Job, RowCall


def halving(start: float, steps: int) -> Job:
    x = np.full((1, 2), start, np.float32)
    for _ in range(steps):
        x = (yield RowCall(Capability.DENOISE_STEP, {"x": x}))["x"]
    return x


def test_lock_step_runs_the_rows_of_all_and_ends_with_the_longest() -> None:
    job, sizes, outputs = lock_step([halving(8, 1), halving(16, 3), halving(32, 2)]), [], None
    try:
        while True:
            call = job.send(outputs)
            sizes.append(call.size)
            outputs = {"x": call.inputs["x"] / 2}
    except StopIteration as stop:
        results = stop.value
    assert sizes == [3, 2, 1]
    assert [float(x[0, 0]) for x in results] == [4, 2, 8]
