"""Every setting of the service, read from the environment with the prefix `AMOSTRA_`.

    AMOSTRA_MODELS=/models AMOSTRA_QUEUE_SECONDS=10 make serve

An unknown `AMOSTRA_…` variable is refused at start, so that a misspelt one is not silently ignored.
"""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.cores import usable
from service.engine.limits import Limits
from service.engine.share import Share

PREFIX = "AMOSTRA_"
# Read by the training side, the tests and the client from the same environment.
FOREIGN = {"AMOSTRA_DATA", "AMOSTRA_RUNS", "AMOSTRA_URL", "AMOSTRA_API_KEY"}

Positive = Annotated[int, Field(ge=1)]


class PerModel(BaseModel):
    """What is said of one model; the bounds that are left out are those of all models."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    weight: Annotated[float, Field(gt=0)] = 1.0
    queue_seconds: Annotated[float, Field(gt=0)] | None = None
    queue_requests: Positive | None = None


class Settings(BaseSettings):
    """What an operator may change. Units are in the names or beside them."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    models: Path = Path(__file__).parent.parent / "exported"
    """The model store: `<model>/<version>/manifest.json`. By default the one that comes with the code."""
    poll_seconds: Annotated[float, Field(gt=0)] = 2.0
    """How often the store is looked at for models added, changed or removed."""

    default_generate: str = "mnist-gan"
    default_sample: str = "pendigits-flow"
    default_denoise: str = "photo-denoiser"
    default_edit: str = "mnist-diffusion"
    default_restore: str = "mnist-restorer"
    default_embed: str = "mnist-contrastive"
    default_score: str = "mnist-scores"
    default_complete: str = "shakespeare-gpt"
    """Models used where a request names none. Readiness waits for those that the store has; for the others, the first
    model by name that can do the task takes the place."""

    provider: Literal["auto", "cpu", "cuda", "tensorrt"] = "auto"
    """`cuda` refuses to start without a GPU; `auto` takes one if there is one and says loudly if there is not. `tensorrt`
    is CUDA, and TensorRT for the graphs that may be rounded to float16 and whose shapes are fixed."""
    precision: Literal["auto", "float32"] = "auto"
    """On a GPU, `auto` computes in float16 where a graph's manifest has a parity for it that was within its tolerance."""
    cuda_graphs: Literal["auto", "off"] = "auto"
    """`auto` records each batch size of a graph as a CUDA graph on loading, where that can be done and gives the same bits."""
    tensorrt_cache: Path | None = None
    """A directory for the engines that TensorRT builds; without one each start builds them again, which takes minutes."""
    workers: Annotated[int, Field(ge=1, le=64)] = min(64, usable())
    """Threads that run graphs; as many as there are cores that the process may use. One intra-op thread each is the fastest under load on a CPU."""
    pin_workers: bool = True
    """Keep each worker to a core of its own, where there are as many of them as cores that the process may use and the models are on the CPU; work that has the machine to itself has one thread on each."""
    intra_op_threads: Positive = 1
    """Threads of one graph beside those of the others."""
    max_batch_rows: Positive = 64
    """Rows of a batch; a model for which larger batches are slower gets smaller ones, and one that has more of them done
    within 2 ms larger ones."""
    max_batch_elements: Positive = 2**20
    """Elements (pixels, columns) of a batch's input: bounds memory where images are large."""
    text_slots: Positive = 16
    """Sequences of one text model that are generated at the same time, if their keys and values fit."""
    text_cache_mb: Positive = 512
    """Memory for the keys and values of one text model: a long context leaves room for fewer sequences."""
    prefill_chunk: Annotated[int, Field(ge=3, le=64)] = 64
    """Prompt tokens computed between two steps of the other sequences. Above 64 the last bits depend on the number."""

    queue_seconds: Annotated[float, Field(gt=0)] = 30.0
    """A request with more than this much work before it, the turns of other models among it, is refused with 429."""
    queue_requests: Positive = 1024
    """Requests waiting or running at once, over all models. One model has four times as many as there is room left for at
    most: 819 of 1,024, so that others find room."""
    requests_mb: Positive = 512
    """MiB that the bodies of requests, from their first bytes, and the arrays made of them may take together; what would be
    more is refused with 429."""
    per_model: dict[str, PerModel] = {}
    """By name: `{"mnist-gan": {"weight": 2.0, "queue_seconds": 5, "queue_requests": 64}}`. Under load a model of weight 2
    gets twice the time of one of weight 1."""
    request_timeout_seconds: Annotated[float, Field(gt=0)] = 120.0
    """An answer that takes longer is given up with 504."""
    slow_client_seconds: Annotated[float, Field(gt=0)] = 30.0
    """A client may take so long to send a request's head, and be so far behind 1,000 bytes a second in sending its body and
    in reading an answer; then its connection is ended."""
    hang_seconds: Annotated[float, Field(gt=0)] = 60.0
    """A batch that takes longer than this, and 20 times as long as its like, is ended, and its model is refused. So is one
    whose first run, on loading, takes as long."""
    drain_seconds: Annotated[float, Field(ge=0)] = 30.0
    """After SIGTERM, requests under way may take this long; what is left then is answered with 503."""

    memory_mb: Annotated[int, Field(ge=0)] = 0
    """MiB that models may take together; 0 is no bound. Over it, the one used longest ago is unloaded until it is asked
    for again."""
    result_cache_mb: Annotated[int, Field(ge=0)] = 0
    """MiB of results kept, to answer the same request with the same seed without computing it again; 0 is off."""

    batch_dir: Path | None = None
    """A directory of this service's own, for files and batches: `/v1/files` and `/v1/batches` are off without one."""
    batch_in_flight: Positive = 16
    """Lines of batches under way at once."""
    batch_file_bytes: Positive = 200 * 2**20
    """Bytes of one uploaded file."""
    batch_lines: Positive = 50_000
    """Requests in one file."""
    batch_storage_mb: Positive = 2048
    """MiB that the files and answers of one API key may take, or of everybody where there are no keys."""
    batch_files: Positive = 1000
    """Files, and batches, that one API key may have, or everybody where there are no keys."""
    batch_keep_days: Annotated[float, Field(gt=0)] = 30.0
    """Files and batches are forgotten after so many days, if nothing else was asked for."""

    keys_file: Path | None = None
    """A TOML file of API keys (service/keys.py). Without one everybody may ask."""

    trial_mb: Annotated[int, Field(ge=0)] = 0
    """With a number, every model is loaded in a process of its own first, on a CPU and with so many MiB: one that crashes,
    hangs or takes more is refused. For models from strangers; loading takes about twice as long. 0 is off."""
    public_key: Path | None = None
    """An Ed25519 public key as PEM. With one, only models whose manifest was signed by its owner are served; needs the
    [signing] extra."""
    tracing: bool = False
    """Spans by OpenTelemetry, to where OTEL_EXPORTER_OTLP_ENDPOINT says; needs the [tracing] extra."""
    log_format: Literal["text", "json"] = "text"
    """One JSON object a line, with the request's id and trace, or lines for people."""

    max_body_bytes: Positive = 32 * 2**20
    """Bytes of one request's body, as sent."""
    max_images: Positive = 1000
    """Images of one request, drawn or sent."""
    max_pixels: Positive = 4 * 2**20
    """Pixels of one image."""
    max_rows: Positive = 10_000
    """Vectors of one request, drawn, scored or embedded."""
    max_tokens: Positive = 4096
    """New tokens of one completion."""
    max_prompts: Positive = 64
    """Sequences of one request: prompts of one completion, completions of one prompt, images drawn pixel by pixel."""
    max_text_characters: Positive = 1_000_000
    """Characters of one text to be scored, embedded or completed."""

    @property
    def limits(self) -> Limits:
        """The bounds of batches, as the engine takes them."""
        return Limits(rows=self.max_batch_rows, elements=self.max_batch_elements)

    @property
    def shares(self) -> dict[str, Share]:
        """What is said of single models, as the engine takes it."""
        return {name: Share(**own.model_dump()) for name, own in self.per_model.items()}


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
