"""Lines through an exported graph, in windows and summed up by the server's own code, for a line may exceed the context."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from contract import Manifest
from service.engine.job import Arrays, Job, RowCall
from service.model import LoadedModel
from service.tasks.score import Scores, explains, score_texts
from training.graphs import open_session


def scored_lines(directory: Path, manifest: Manifest, batches: Iterable[Sequence[np.ndarray]]) -> Iterator[Scores]:
    """The scores of each batch of lines, which are token ids (T,) without start and end; surprise where the model has it."""
    model = LoadedModel(manifest=manifest, key="", runners={}, providers={})
    capability = model.serving("score")
    assert capability is not None, "a model that scores"
    session = open_session(directory / manifest.capabilities[capability].file)
    names = [output.name for output in session.get_outputs()]
    for rows in batches:
        job = score_texts(model, rows, explain=explains(model))
        asked = _step(job, None)
        while isinstance(asked, RowCall):
            asked = _step(job, dict(zip(names, session.run(names, asked.inputs), strict=True)))
        yield asked


def _step(job: Job, outputs: Arrays | None) -> RowCall | Scores:
    """What a job asks for next, or its result."""
    try:
        return job.send(outputs)
    except StopIteration as stop:
        return stop.value
