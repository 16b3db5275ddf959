"""Jobs in lock step get their own rows and give their own results, whenever they end; and what there is, is measured."""

import numpy as np
import pytest

from benchmarks.diffusion_mixed import lock_step, providers
from contract import Capability
from service.engine.job import Job, RowCall
from service.providers import CPU, CUDA, Machine


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


class Standing(Machine):
    """A machine with so many GPUs."""

    def __init__(self, gpus: int) -> None:
        self._gpus = gpus

    def gpus(self) -> int:
        return self._gpus

    def providers(self) -> list[str]:
        return [CUDA, CPU]

    def preload(self) -> None:
        pass


@pytest.mark.parametrize(
    ("wanted", "gpus", "measured"),
    [(None, 0, ["cpu"]), (None, 1, ["cpu", "cuda"]), ("cpu", 1, ["cpu"]), ("cuda", 1, ["cuda"])],
)
def test_a_gpu_is_measured_where_there_is_one(wanted, gpus, measured) -> None:
    assert providers(wanted, Standing(gpus)) == measured


def test_a_gpu_that_is_asked_for_and_missing_is_not_measured_on_the_cpu() -> None:
    with pytest.raises(SystemExit, match="nothing was measured"):
        providers("cuda", Standing(0))
