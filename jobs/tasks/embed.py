"""Embed rows, images or texts: a list of numbers for each."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from contract import Capability
from jobs.chunks import Answer, Chunk
from jobs.decoding import Decoder, Samples
from jobs.engine import InProcess
from jobs.job import Job
from jobs.tasks import together
from service.settings import Settings
from service.tasks import embed as embedding


def answers(engine: InProcess, settings: Settings, job: Job, chunks: Iterator[Chunk]) -> Iterator[Answer]:
    """The embeddings of chunks of rows."""
    model = engine.model
    outputs = model.manifest.capabilities[Capability.ENCODE].outputs
    (size,) = (t.shape[-1] for t in outputs if t.name == "embedding")

    def compute(samples: Samples) -> pa.Table:
        if isinstance(samples, list):
            embedding.check_lengths(model, samples)
            return _table(engine.run(embedding.embed_texts(model, samples), float(sum(map(len, samples)))))
        return _table(engine.run(embedding.embed_samples(model, samples), float(len(samples))))

    nothing = _table(np.zeros((0, int(size)), np.float32))
    yield from together.answers(chunks, Decoder(model, settings, bounded=True), compute, nothing)


def _table(embeddings: np.ndarray) -> pa.Table:
    values = pa.array(np.ascontiguousarray(embeddings, np.float32).ravel())
    return pa.table({"embedding": pa.FixedSizeListArray.from_arrays(values, embeddings.shape[1])})
