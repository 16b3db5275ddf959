"""How well a density fits a table's normal rows that it was not trained on, and how well it tells anomalies from them.

All figures come through the `log_density` graph; the test rows are those of training/data/tables.py.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contract import Capability
from contract.manifest import Measurement
from training.data.tables import Table, table
from training.evaluate import EvaluationError, ExportedModel, metric
from training.evaluation.density import ALPHA, conformal_p_values, detection


@metric
def table_log_likelihood(model: ExportedModel, data_root: Path | None, seed: int) -> list[Measurement]:
    """The mean log_prob of a normal test row as it is, without added noise."""
    rows, log_prob = _scored(model, data_root)
    normal = log_prob[rows.anomalous.numpy() == 0]
    return [
        Measurement(
            metric="log-likelihood",
            value=float(normal.mean()),
            unit="nats/row",
            data=f"{model.manifest.data.dataset} test, normal rows",
            size=len(normal),
            note=f"{rows.test.shape[1]} columns, standard error {normal.std() / len(normal) ** 0.5:.2g}",
        )
    ]


@metric
def table_anomalies(model: ExportedModel, data_root: Path | None, seed: int) -> list[Measurement]:
    """How well a low log_prob tells anomalies, the positives, from normal test rows; and how many of each are flagged."""
    if model.manifest.calibration is None:
        raise EvaluationError(f"{model.manifest.name}: has no calibration scores to measure")
    rows, log_prob = _scored(model, data_root)
    is_anomaly, name = rows.anomalous.numpy(), f"{model.manifest.data.dataset} test"
    against = f"{name}, {is_anomaly.sum()} anomalies among {len(is_anomaly)} rows"
    calibration = np.load(model.directory / model.manifest.calibration.scores.file, allow_pickle=False)
    flagged = conformal_p_values(log_prob, calibration) <= ALPHA
    return [
        *(
            Measurement(metric=metric_, value=value, unit=unit, data=against, size=len(is_anomaly))
            for metric_, value, unit in detection(is_anomaly, -log_prob)
        ),
        *(
            Measurement(
                metric=f"flagged at alpha = {ALPHA}",
                value=100 * float(flagged[is_anomaly == kind].mean()),
                unit="%",
                data=f"{name}, {kind_name}",
                size=int((is_anomaly == kind).sum()),
                note=f"conformal p-values against {len(calibration)} held-out training rows",
            )
            for kind, kind_name in ((0, "normal rows"), (1, "anomalies"))
        ),
    ]


def _scored(model: ExportedModel, data_root: Path | None) -> tuple[Table, NDArray[np.float64]]:
    """The model's table, and log_prob of its test rows (M,) in nats."""
    if model.manifest.data.kind != "vector":
        raise EvaluationError(
            f"{model.manifest.name}: expected a model of vectors, found one of {model.manifest.data.kind}"
        )
    rows = table(model.manifest.data.dataset, data_root)
    return rows, model.run(Capability.LOG_DENSITY, {"x": rows.test.numpy()}, "log_prob").astype(np.float64)
