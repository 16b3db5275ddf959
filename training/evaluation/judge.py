"""The judge of drawn digits: the exported graph of `mnist-features`, whose features and classes the figures rest on.

It lies in the same store as the model that it judges, and its sha256 goes into every measurement that needs it.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contract import Capability
from contract.files import MANIFEST_NAME
from training.evaluate import EvaluationError, ExportedModel

NAME, VERSION = "mnist-features", "1"


class Judge:
    """x (N, 1, 28, 28) in [0, 1] -> features (N, D), or the classes that it sees (N,)."""

    def __init__(self, directory: Path):
        self._model = ExportedModel.open(directory)
        self.sha256 = self._model.manifest.capabilities[Capability.ENCODE].sha256

    def features(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._model.run(Capability.ENCODE, {"x": x}, "embedding")

    def classes(self, x: NDArray[np.float32]) -> NDArray[np.int64]:
        return self._model.run(Capability.ENCODE, {"x": x}, "logits").argmax(1)


def judge_of(model: ExportedModel) -> Judge:
    """The judge in the model's store.

    Raises EvaluationError where there is none.
    """
    directory = model.directory.resolve().parent.parent / NAME / VERSION
    if not (directory / MANIFEST_NAME).is_file():
        raise EvaluationError(
            f"{model.manifest.name}: expected the judge {NAME}/{VERSION} in the same store, found none; "
            f"run `python -m training run {NAME} --exported {directory.parent.parent}` first"
        )
    return Judge(directory)
