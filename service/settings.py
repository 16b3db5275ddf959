"""Every setting of the service, read from the environment with the prefix `AMOSTRA_`.

    AMOSTRA_MODELS=/models AMOSTRA_QUEUE_SECONDS=10 make serve

An unknown `AMOSTRA_…` variable is refused at start, so that a misspelt one is not silently ignored.
"""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "AMOSTRA_"
# Read by the training side and the tests from the same environment.
FOREIGN = {"AMOSTRA_DATA", "AMOSTRA_RUNS"}

Positive = Annotated[int, Field(ge=1)]


class Settings(BaseSettings):
    """What an operator may change. Units are in the names or beside them."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    models: Path = Path(__file__).parent.parent / "exported"
    """The model store: `<model>/<version>/manifest.json`. By default the one that comes with the code."""
    poll_seconds: Annotated[float, Field(gt=0)] = 2.0
    """How often the store is looked at for models added, changed or removed."""

    default_generate: str = "mnist-gan"
    default_denoise: str = "photo-denoiser"
    default_edit: str = "mnist-diffusion"
    default_restore: str = "mnist-restorer"
    default_embed: str = "mnist-contrastive"
    default_score: str = "mnist-flow"
    default_complete: str = "shakespeare-gpt"
    """Models used where a request names none. Readiness waits for those that the store has; for the others, the first
    model by name that can do the task takes the place."""

    provider: Literal["auto", "cpu", "cuda"] = "auto"
    """`cuda` refuses to start without a GPU; `auto` takes one if there is one and says loudly if there is not."""
    workers: Annotated[int, Field(ge=1, le=64)] = os.cpu_count() or 1
    """Threads that run graphs. One intra-op thread each is the fastest under load on a CPU."""
    intra_op_threads: Positive = 1
    max_batch_rows: Positive = 64
    max_batch_elements: Positive = 2**20
    """Elements (pixels, columns) of a batch's input: bounds memory where images are large."""
    text_slots: Positive = 16
    """Sequences of one text model that are generated at the same time."""
    prefill_chunk: Positive = 64
    """Prompt tokens computed between two steps of the other sequences."""

    queue_seconds: Annotated[float, Field(gt=0)] = 30.0
    """A request whose model has more than this much work before it is refused with 429."""
    queue_requests: Positive = 1024
    """Requests waiting or running at once, over all models."""
    request_timeout_seconds: Annotated[float, Field(gt=0)] = 120.0

    max_body_bytes: Positive = 32 * 2**20
    max_images: Positive = 1000
    """Images of one request, drawn or sent."""
    max_pixels: Positive = 4 * 2**20
    """Pixels of one image."""
    max_rows: Positive = 10_000
    """Vectors of one scoring request."""
    max_tokens: Positive = 4096
    """New tokens of one completion."""
    max_prompts: Positive = 64
    """Sequences of one request: prompts of one completion, completions of one prompt, images drawn pixel by pixel."""
    max_text_characters: Positive = 1_000_000
    """Characters of one text to be scored."""


class UnknownSetting(ValueError):
    """An environment variable with our prefix that is no setting."""


def load_settings() -> Settings:
    """Read the environment.

    Raises UnknownSetting, naming the variable and the known ones, or pydantic's ValidationError.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields} | FOREIGN
    for name in sorted(os.environ):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            raise UnknownSetting(f"{name} is not a setting; known are {', '.join(sorted(known))}")
    return Settings()
