"""How well a density fits a table's normal rows that it was not trained on, and how well it tells anomalies from them.

All figures come through the `log_density` graph, or the default of the `score` graph; the test rows are those of
training/data/tables.py.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contract import Capability
from contract.manifest import Measurement
from training.data.tables import Table, table
from training.evaluate import EvaluationError, ExportedModel, metric
from training.evaluation.density import ALPHA, conformal_p_values, detection, positives


@metric
def table_log_likelihood(model: ExportedModel, data_root: Path | None, seed: int) -> list[Measurement]:
    """The mean log_prob of a normal test row as it is, without added noise."""
    rows = _table(model, data_root)
    log_prob = model.run(Capability.LOG_DENSITY, {"x": rows.test.numpy()}, "log_prob").astype(np.float64)
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
    """How well a low score tells anomalies, the positives, from normal test rows; and how many of each are flagged."""
    if model.manifest.calibration is None:
        raise EvaluationError(f"{model.manifest.name}: has no calibration scores to measure")
    rows, scores, calibration = scored_rows(model, data_root)
    is_anomaly, name = rows.anomalous.numpy(), f"{model.manifest.data.dataset} test"
    normal, strange = (scores[is_anomaly == kind] for kind in (0, 1))
    against = f"{name}, {len(strange)} anomalies among {len(scores)} rows"
    note = positives("anomalies", normal, strange)
    flagged = conformal_p_values(scores, calibration) <= ALPHA
    return [
        *(
            Measurement(metric=metric_, value=value, unit=unit, data=against, size=len(scores), note=note)
            for metric_, value, unit in detection(normal, strange)
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


def scored_rows(model: ExportedModel, data_root: Path | None) -> tuple[Table, NDArray[np.float64], NDArray[np.float64]]:
    """The model's table, the score of its test rows (M,) that decides, and the calibration scores (n,), ascending."""
    rows, manifest = _table(model, data_root), model.manifest
    calibration = np.zeros(0)
    if manifest.calibration is not None:
        calibration = np.load(model.directory / manifest.calibration.scores.file, allow_pickle=False)
    x = {"x": rows.test.numpy()}
    if manifest.scoring is None:
        return rows, model.run(Capability.LOG_DENSITY, x, "log_prob").astype(np.float64), calibration
    default = manifest.scoring.statistics.index(manifest.scoring.default)
    normality = model.run(Capability.SCORE, x, "normality").astype(np.float64)
    return rows, normality[:, default], calibration[default] if calibration.ndim == 2 else calibration


def _table(model: ExportedModel, data_root: Path | None) -> Table:
    if model.manifest.data.kind != "vector":
        raise EvaluationError(
            f"{model.manifest.name}: expected a model of vectors, found one of {model.manifest.data.kind}"
        )
    return table(model.manifest.data.dataset, data_root)
