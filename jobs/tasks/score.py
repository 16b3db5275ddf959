"""Score rows, images or texts: the columns are the fields of the service's answer."""

import math
from collections.abc import Iterator
from functools import partial

import numpy as np
import pyarrow as pa

from jobs.chunks import Answer, Chunk
from jobs.decoding import Decoder, Samples
from jobs.engine import InProcess
from jobs.job import Job
from jobs.tasks import together
from service.errors import Invalid
from service.model import LoadedModel
from service.settings import Settings
from service.tasks import score as scoring

ALPHA = 0.05


def check(model: LoadedModel, job: Job) -> None:
    """Refuse a statistic that the model does not have. Raises Invalid."""
    name, known = job.parameters.get("statistic"), scoring.statistics_of(model)
    if name is not None and name not in known:
        raise Invalid(f"--statistic {name}: model {model.id} has {', '.join(known)}: choose one of them")
    if job.parameters.get("alpha") is not None and model.calibration is None:
        raise Invalid(f"--alpha: model {model.id} has no calibration, and so no p-values: leave it out")


def answers(engine: InProcess, settings: Settings, job: Job, chunks: Iterator[Chunk]) -> Iterator[Answer]:
    """The scores of chunks of rows."""
    model = engine.model
    statistic = job.parameters.get("statistic") or scoring.default_of(model)
    table = partial(_table, model, scoring.statistics_of(model).index(statistic), job.parameters.get("alpha") or ALPHA)

    def compute(samples: Samples) -> pa.Table:
        if isinstance(samples, list):
            return table(engine.run(scoring.score_texts(model, samples), float(sum(map(len, samples)))))
        return table(engine.run(scoring.score_samples(model, samples), float(len(samples))))

    yield from together.answers(chunks, Decoder(model, settings, bounded=True), compute, table(_none(model)))


def _none(model: LoadedModel) -> scoring.Scores:
    """The scores of nothing, which have the columns of all others."""
    statistics = scoring.statistics_of(model)
    no_values = np.zeros((0, len(statistics)))
    has_log_prob = model.manifest.scoring is None or "log_prob" in statistics
    return scoring.Scores(
        statistics,
        0,
        no_values,
        None if model.calibration is None else no_values,
        np.zeros(0) if has_log_prob else None,
        np.zeros(0),
    )


def _table(model: LoadedModel, statistic: int, alpha: float, scores: scoring.Scores) -> pa.Table:
    bits = scores.bits_per_dim
    columns = {"score": scores.normality[:, statistic]}
    if scores.p_values is not None:
        p = np.ascontiguousarray(scores.p_values[:, statistic])
        columns |= {"p_value": p, "is_anomaly": p <= alpha}
    if scores.log_prob is not None:
        columns["log_prob"] = scores.log_prob
        columns["bits_per_dim"] = np.full(len(scores), np.nan) if bits is None else bits
    if model.manifest.data.kind == "text":
        columns["tokens"] = scores.dimensions.astype(np.int64)
        columns["perplexity"] = np.array([math.exp(min(700.0, -value)) for value in columns["score"].tolist()])
    found = {name: pa.array(np.ascontiguousarray(column)) for name, column in columns.items()}
    if len(scores.statistics) > 1:
        found["scores"] = _by_statistic(scores.statistics, scores.normality)
        if scores.p_values is not None:
            found["p_values"] = _by_statistic(scores.statistics, scores.p_values)
    return pa.table(found)


def _by_statistic(names: tuple[str, ...], values: np.ndarray) -> pa.StructArray:
    return pa.StructArray.from_arrays([pa.array(np.ascontiguousarray(column)) for column in values.T], list(names))
