"""The tasks: from a shard's chunks to answers. What a row's answer is, the service's own tasks say."""

from collections.abc import Callable, Iterator

from jobs.chunks import Answer, Chunk
from jobs.engine import InProcess
from jobs.job import Job
from jobs.tasks import complete, denoise, embed, generate, score
from service.model import LoadedModel
from service.settings import Settings

ANSWERS: dict[str, Callable[[InProcess, Settings, Job, Iterator[Chunk]], Iterator[Answer]]] = {
    "generate": generate.answers,
    "denoise": denoise.answers,
    "score": score.answers,
    "embed": embed.answers,
    "complete": complete.answers,
}
CHECKS: dict[str, Callable[[LoadedModel, Job], None]] = {
    "generate": generate.check,
    "denoise": denoise.check,
    "score": score.check,
}
"""Whether a model can do what a job's parameters ask for. They raise Invalid."""
