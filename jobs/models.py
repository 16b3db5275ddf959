"""The model of a job: from the same store as the service's, checked and loaded as the service does."""

from pathlib import Path

from jobs.errors import BadUsage
from jobs.job import Job
from service.engine.limits import Limits
from service.entry import Entry
from service.loading import load_model
from service.model import LoadedModel
from service.providers import find_device
from service.sessions import ModelRefused
from service.settings import Settings, load_settings

BATCH_ROWS = 256
_RUNS_SECONDS = 0.05
"""Of a batch that is cut into runs of the fastest size: what is around a batch then counts nothing."""


def settings_of(job: Job) -> Settings:
    """The service's settings, from the same environment, for one worker that nobody waits for.

    The bounds of one request are not a job's: what a single row may be is bounded by memory alone.
    """
    own = {
        "models": job.store,
        "provider": job.device,
        "workers": 1,
        "intra_op_threads": 1,
        "max_batch_rows": BATCH_ROWS,
        "max_images": 2**31,
        "max_pixels": 2**31,
        "max_tokens": 2**31,
        "max_prompts": 2**31,
        "max_text_characters": 2**31,
    }
    return load_settings().model_copy(update=own)


def limits_of(settings: Settings) -> Limits:
    """Batches as large as the fastest: no other request has to get its turn in between."""
    return Limits(
        rows=settings.max_batch_rows,
        elements=settings.max_batch_elements,
        batch_seconds=1e9,
        call_seconds=1e9,
        runs_seconds=_RUNS_SECONDS,
    )


def load(job: Job) -> LoadedModel:
    """Load the model that the job names. Raises BadUsage where there is none, or it cannot do the task."""
    directory = find(job.store, job.model)
    try:
        model = load_model(directory, settings_of(job), find_device(job.device))
    except RuntimeError as error:
        raise BadUsage(f"--gpus-per-worker: {error}") from error
    except ModelRefused as error:
        raise BadUsage(f"--model {job.model}: {error}") from error
    if job.task not in model.tasks:
        raise BadUsage(f"--model {job.model}: it cannot {job.task}; it can {', '.join(model.tasks)}")
    return model


def find(store: Path, name: str) -> Path:
    """The directory of `name` or `name@version`, the highest version where none is said. Raises BadUsage."""
    base, _, version = name.partition("@")
    found = sorted(store.resolve().glob("*/*/manifest.json"))
    versions = [d.parent for d in found if d.parent.parent.name == base and version in ("", d.parent.name)]
    if not versions:
        known = ", ".join(sorted({d.parent.parent.name for d in found})) or "none"
        raise BadUsage(f"--model {name}: there is none in {store}; there are {known}")
    return max(versions, key=lambda directory: Entry(base, directory.name, ()).order)
