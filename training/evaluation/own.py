"""Figures of models of one's own data: measured on the part that was held out of training, for there is no other test set."""

import math
from pathlib import Path

import numpy as np
import torch

from contract import Capability
from contract.manifest import Measurement
from training import data
from training.data import Dataset
from training.evaluate import EvaluationError, ExportedModel, metric


def dataset_of(model: ExportedModel, data_root: Path | None) -> Dataset:
    """What a model was trained on, by its manifest. Raises EvaluationError where that does not say."""
    if model.trained_on is None:
        raise EvaluationError(
            f"{model.manifest.name}: expected provenance.hyper_parameters.data in its manifest, found none"
        )
    return data.load(model.trained_on, data_root)


@metric
def own_pictures(model: ExportedModel, data_root: Path | None, seed: int) -> list[Measurement]:
    """Bits per dimension at the grey levels' centres, of models that have a density, and the error of a pixel in [0, 1] of
    those that reconstruct; beside it that of the mean picture."""
    dataset = dataset_of(model, data_root)
    x = dataset.calibration.at(torch.arange(len(dataset.calibration)))["x"].numpy()
    rest = {"data": f"{dataset.name}, held out of the training set", "size": len(x)}
    figures = []
    if Capability.LOG_DENSITY in model.manifest.capabilities:
        log_prob = model.run(Capability.LOG_DENSITY, {"x": x}, "log_prob").astype(np.float64)
        bits = float(-log_prob.mean() / (x[0].size * math.log(2)))
        figures.append(Measurement(metric="bits per dimension", value=bits, unit="bits/dim", **rest))
    if Capability.RECONSTRUCT in model.manifest.capabilities and model.manifest.restoration is None:
        error = float(np.square(model.run(Capability.RECONSTRUCT, {"x": x}, "x_hat") - x).mean())
        note = f"of the mean picture {float(np.square(x.mean(0) - x).mean()):.4g}"
        figures.append(Measurement(metric="reconstruction error", value=error, note=note, **rest))
    return figures
