"""Samples for evaluation, drawn through the service's own tasks, samplers and engine: what is measured is what is served.

Here, and where a table's rows are encoded (training/data/files.py), `training` imports `service`; never the other way.
"""

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from service.engine.batch import Batch
from service.engine.job import Job
from service.engine.loop import Engine
from service.engine.sequences import Progress
from service.engine.ticket import Ticket
from service.loading import load_model
from service.model import LoadedModel
from service.settings import Settings
from service.tasks import diffuse, generate
from training.evaluate import EvaluationError, ExportedModel

CHUNK = 500  # images of one job


@dataclass(frozen=True)
class Drawn:
    """x (N, C, H, W) float32 in [0, 1], the labels asked for (N,), None of a model without, and evaluations an image."""

    x: NDArray[np.float32]
    labels: NDArray[np.int64] | None
    evaluations: float


def draw(
    model: ExportedModel, n: int, seed: int, labels: NDArray[np.int64] | None = None, steps: int | None = None
) -> Drawn:
    """n images by the model's default sampler, in its default number of steps or another; of these classes (n,), where the
    model draws a class; else they take turns.

    Raises EvaluationError where the model does not generate images.
    """
    return _draw(model, n, seed, None if labels is None else tuple(labels.tolist()), steps)


@lru_cache(maxsize=2)
def _draw(model: ExportedModel, n: int, seed: int, wanted: tuple[int, ...] | None, steps: int | None) -> Drawn:
    loaded = load_model(model.directory.resolve(), Settings(provider="cpu"), "cpu")
    capability = loaded.serving("generate")
    if capability is None:
        raise EvaluationError(f"{loaded.id}: expected a model that generates images, found {', '.join(loaded.tasks)}")
    labels = None
    if loaded.takes(capability, "label"):
        classes = len(loaded.manifest.data.class_names)
        labels = np.arange(n) % max(classes, 1) if wanted is None else np.array(wanted)
    parts, evaluations = run(loaded, _jobs(loaded, n, seed, labels, steps))
    return Drawn(np.concatenate(parts), labels, evaluations / n)


def _jobs(loaded: LoadedModel, n: int, seed: int, labels: NDArray[np.int64] | None, steps: int | None) -> generate.Jobs:
    """Jobs of CHUNK images, each with a seed of its own, keyed by (seed, chunk)."""
    temperature = loaded.manifest.sampling.temperature
    course = None if steps is None else diffuse.plan(loaded, steps, None, None, with_class=labels is not None)
    jobs: generate.Jobs = []
    for chunk, first in enumerate(range(0, n, CHUNK)):
        own = int(np.random.SeedSequence([seed, chunk]).generate_state(1)[0])
        part = None if labels is None else labels[first : first + CHUNK]
        size = min(CHUNK, n - first)
        drawing = generate.Drawing(
            size, own, part, course=course, temperature=1.0 if temperature is None else temperature
        )
        jobs += generate.draw(loaded, drawing)
    return jobs


class _Count:
    """Counts the rows, or tokens, that went through the network."""

    def __init__(self) -> None:
        self.rows = 0

    def waited(self, model: Any, seconds: float, trace: dict[str, str] | None) -> None:
        """How long a job waited is nothing to us."""

    def batch(self, model: Any, batch: Batch, seconds: float, padding: int) -> None:
        self.rows += batch.rows

    def sequences(self, model: Any, batch: Batch, progress: Progress, seconds: float) -> None:
        self.rows += progress.tokens

    def first_token(self, model: Any, seconds: float, trace: dict[str, str] | None) -> None:
        """Nor how long one waited for its first token."""


def run(loaded: LoadedModel, jobs: Iterable[tuple[Job, float]]) -> tuple[list[Any], int]:
    """Run jobs on an engine of their own; their results in order, and how many rows went through the network."""
    count, results = _Count(), []
    engine = Engine(torch.get_num_threads(), observer=count)
    done = threading.Semaphore(0)

    def finished(ticket: Ticket) -> None:
        done.release()

    engine.start()
    try:
        tickets = [engine.submit(loaded, job, work, finished) for job, work in jobs]
        for _ in tickets:
            done.acquire()
        for ticket in tickets:
            if ticket.error is not None:
                raise ticket.error
            results.append(ticket.result)
    finally:
        engine.stop()
    return results, count.rows
