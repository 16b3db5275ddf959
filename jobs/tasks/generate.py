"""Draw labelled images: a synthetic training set. Row i has a seed of its own, which draws it again from the service."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.chunks import Answer, Chunk, Refused
from jobs.engine import ROW_ERRORS, InProcess
from jobs.job import Job
from jobs.seeds import row_seed
from jobs.tasks import pictures
from service.model import LoadedModel
from service.settings import Settings
from service.tasks import generate as generating

WINDOW = 256


def check(model: LoadedModel, job: Job) -> None:
    """Refuse wishes that the model has no use for. Raises Invalid."""
    _plan(model, job)


def answers(engine: InProcess, settings: Settings, job: Job, chunks: Iterator[Chunk]) -> Iterator[Answer]:
    """Images of rows that are nothing but numbers. Without a label the classes take turns."""
    model, kind = engine.model, job.parameters["image_format"]
    plan = _plan(model, job)
    classes = len(model.manifest.data.class_names) if plan.labels is not None else 0
    wanted = generating.resolve_label(model, job.parameters.get("label"), job.parameters.get("class"))

    def drawing(row: int) -> generating.Drawing:
        label = (row % max(1, classes) if wanted is None else wanted) if plan.labels is not None else None
        labels = None if label is None else np.array([label], np.int64)
        return replace(plan, seed=row_seed(job.seed, row), labels=labels)

    for chunk in chunks:
        asked = ((own, generating.draw(model, own)) for own in map(drawing, chunk.rows.tolist()))
        drawn, images, rows, refused = [], [], [], []
        for row, (own, found) in zip(chunk.rows.tolist(), engine.each(asked, WINDOW), strict=True):
            if isinstance(found, ROW_ERRORS):
                refused.append(Refused(row, found))
            else:
                rows.append(row)
                drawn.append(own)
                images.append(np.concatenate(found)[0])
        yield Answer(_table(model, rows, drawn, images, kind, classes > 0), refused)


def _plan(model: LoadedModel, job: Job) -> generating.Drawing:
    asked = job.parameters
    label = generating.resolve_label(model, asked.get("label"), asked.get("class"))
    ways: dict[str, Any] = {name: asked.get(name) for name in ("steps", "sampler", "guidance", "temperature")}
    return generating.plan(model, generating.Ask(1, 0, label, **ways))


def _table(
    model: LoadedModel,
    rows: list[int],
    drawn: list[generating.Drawing],
    images: list[np.ndarray],
    kind: str,
    with_class: bool,
) -> pa.Table:
    columns = {"row": pa.array(rows, pa.int64()), "image": pictures.column(images, kind)}
    names = model.manifest.data.class_names if with_class else ()
    if with_class:
        labels = [int(own.labels[0]) for own in drawn if own.labels is not None]
        columns["label"] = pa.array(labels, pa.int64())
        columns["class"] = pa.array([names[label] for label in labels], pa.string())
    columns["seed"] = pa.array([own.seed for own in drawn], pa.int64())
    table = pa.table(columns)
    return table.replace_schema_metadata(pictures.metadata(table.schema, kind, names))
