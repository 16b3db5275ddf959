"""PyOD's detectors in its own environment, with their default settings where a request does not say.

    python -m benchmarks.peers.pyod.detectors

A process for benchmarks.side. Asked with a `file` (npz with `train` (N, D) and `test` (M, D)), it fits the `detector` where
the last request was for another, writes the scores of the test rows (M,), higher is stranger, to `scores` if it is given,
and answers how long `decision_function` took.
"""

import time
from typing import Any

import numpy as np
from pyod.models.ecod import ECOD
from pyod.models.iforest import IForest
from pyod.models.kde import KDE
from pyod.models.knn import KNN
from pyod.models.lof import LOF

from benchmarks.side import answer

DETECTORS = {"KNN": KNN, "IForest": IForest, "ECOD": ECOD, "LOF": LOF, "KDE": KDE}


class Fitted:
    """The last detector, and what it was fitted to."""

    def __init__(self) -> None:
        self.key: tuple[Any, ...] = ()
        self.detector: Any = None
        self.test = np.zeros((0, 0))

    def __call__(
        self, file: str, detector: str, seed: int = 0, scores: str = "", options: dict[str, Any] | None = None
    ) -> dict[str, float]:
        if self.key != (file, detector, seed, options):
            with np.load(file) as table:
                train, self.test = table["train"].astype(np.float64), table["test"].astype(np.float64)
            # Only the forest draws anything.
            drawn = {"random_state": seed} if detector == "IForest" else {}
            self.detector = DETECTORS[detector](**drawn, **(options or {}))
            self.detector.fit(train)
            self.key = (file, detector, seed, options)
        start = time.perf_counter()
        found = self.detector.decision_function(self.test)
        seconds = time.perf_counter() - start
        if scores:
            np.save(scores, found)
        return {"seconds": seconds}


if __name__ == "__main__":
    answer(Fitted())
