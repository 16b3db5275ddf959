"""Denoise images, each on its own: they may differ in size, and the engine puts those together that can share a batch."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.chunks import Answer, Chunk
from jobs.decoding import Decoder
from jobs.engine import ROW_ERRORS, InProcess
from jobs.job import Job
from jobs.tasks import pictures
from jobs.tasks.rows import about, refusal
from service.model import LoadedModel
from service.settings import Settings
from service.tasks import denoise as denoising
from service.tasks import samples

WINDOW = 64


def check(model: LoadedModel, job: Job) -> None:
    """Refuse a noise level that the model cannot use. Raises Invalid."""
    denoising.check_sigma(model, job.parameters.get("sigma"))


def answers(engine: InProcess, settings: Settings, job: Job, chunks: Iterator[Chunk]) -> Iterator[Answer]:
    """The clean images of chunks of noisy ones, and the noise levels that the model was told."""
    model, sigma, kind = engine.model, job.parameters.get("sigma"), job.parameters["image_format"]
    decode = Decoder(model, settings)
    for chunk in chunks:
        asked = _asked(model, sigma, decode, chunk)
        done: list[tuple[int, denoising.Denoised]] = []
        refused = list(chunk.refused)
        for place, result in engine.each(asked, WINDOW):
            if isinstance(result, ROW_ERRORS):
                refused.append(refusal(chunk, place, result))
            else:
                done.append((place, result[0]))
        yield Answer(_table(chunk, done, kind), refused)


def _asked(model: LoadedModel, sigma: float | None, decode: Decoder, chunk: Chunk) -> Iterator[tuple[int, Any]]:
    for at, noisy in decode(chunk):
        if isinstance(noisy, ROW_ERRORS):
            yield int(at[0]), noisy
            continue
        for place, image in zip(at.tolist(), np.split(np.asarray(noisy), len(noisy)), strict=True):
            yield place, [(denoising.denoise(model, image, sigma), samples.work(image, model.manifest.data))]


def _table(chunk: Chunk, done: list[tuple[int, denoising.Denoised]], kind: str) -> pa.Table:
    columns = about(chunk, np.array([place for place, _ in done], np.int64))
    columns["image"] = pictures.column([result.images[0] for _, result in done], kind)
    levels = [None if result.sigma is None else float(result.sigma[0]) for _, result in done]
    columns["sigma"] = pa.array(levels, pa.float64())
    columns["sigma_estimated"] = pa.array([result.estimated for _, result in done], pa.bool_())
    table = pa.table(columns)
    return table.replace_schema_metadata(pictures.metadata(table.schema, kind))
