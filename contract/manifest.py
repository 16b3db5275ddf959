"""The manifest: everything that a server or a person needs to know about a model, in one JSON file.

    exported/<name>/<version>/manifest.json   + the files that it lists, each with its sha256

Unknown keys are refused, so that a misspelt one cannot be silently ignored; file names are plain names inside the
model's directory, so that a manifest cannot reach outside of it.
"""

import json
import math
import os
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from contract.signatures import Capability, TensorSpec, mismatches

MANIFEST_NAME = "manifest.json"
MAX_MANIFEST_BYTES = 4 * 2**20

Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
Version = Annotated[str, Field(pattern=r"^[0-9]{1,6}(\.[0-9]{1,6}){0,2}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")]
Density = Literal["exact", "bound", "energy", "critic"]
Sampler = Literal["euler", "heun", "dpmpp_2m", "ancestral", "consistency"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ManifestError(ValueError):
    """A manifest that cannot be read; the message names the key, what was expected and what was found."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class FileRef(_Strict):
    """A file of the model's directory."""

    file: FileName
    sha256: Sha256


class Agreement(_Strict):
    """The largest absolute difference that was found between two ways to run a graph, at these batch sizes.

    Of `batch_invariance`: between a row in a batch of one of these sizes and the same row in another.
    """

    max_abs_diff: Annotated[float, Field(ge=0)]
    tolerance: Annotated[float, Field(ge=0)]
    batch_sizes: tuple[int, ...]


class Graph(FileRef):
    """One ONNX file, its signature, and how well it was checked at export.

    `parity` compares it with torch; `batch_invariance` compares a row in batches of different sizes. `density`
    says what `log_prob` is: exact, a lower bound, an unnormalised (negative) energy, or a critic's score: no density at
    all, but higher for what looks real to a discriminator.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    external_data: tuple[FileRef, ...] = ()
    parity: Agreement | None = None
    batch_invariance: Agreement | None = None
    density: Density | None = None


class Data(_Strict):
    """What a sample is. Images are (C, H, W) with null for a free side; vectors are (D,); text has no shape."""

    kind: Literal["image", "vector", "text"]
    dataset: str
    shape: tuple[int | None, ...] = ()
    value_range: tuple[float, float] | None = None
    class_names: tuple[str, ...] = ()
    column_names: tuple[str, ...] = ()
    side_multiple: Annotated[int, Field(ge=1)] = 1
    """Free image sides must be multiples of this; the caller pads by reflection and crops."""


class Latent(_Strict):
    """The prior of `decode`'s z."""

    size: Annotated[int, Field(ge=1)]
    prior: Literal["normal"] = "normal"


class Text(_Strict):
    """How text becomes tokens. `start_token` stands before every text; `context` is the most tokens in a row."""

    tokenizer: FileRef
    vocabulary: Annotated[int, Field(ge=2)]
    start_token: Annotated[int, Field(ge=0)]
    end_token: int | None = None
    context: Annotated[int, Field(ge=2)]


class Pixels(_Strict):
    """How an image becomes tokens: grey levels round(x (levels - 1)), channel by channel, in reading order.

    `start_token` stands before the first pixel; a row of tokens is as long as the image has values.
    """

    levels: Annotated[int, Field(ge=2, le=256)]
    start_token: Annotated[int, Field(ge=0)]


class Restoration(_Strict):
    """What `reconstruct` undoes. Its x is what is left: of mask, values outside of the mask, and `fill` inside; of
    downscale, an image whose sides are `factor` times smaller; of grey, the mean of the channels, (1, H, W)."""

    degradation: Literal["noise", "mask", "downscale", "grey"]
    factor: Annotated[int, Field(ge=2)] | None = None
    fill: float | None = None


class Sampling(_Strict):
    """What a request that does not say gets, and the bounds of what it may say.

    `samplers` are those that the model's `denoise_step` was made for, the first one the default; one without any denoises
    and does not draw. `steps` counts noise levels, of which Heun's method evaluates most twice; `rho` is of Karras et al.'s schedule (2022, eq. 5) from
    sigma_range's end to its beginning. `guidance` w mixes D(x; label) and D(x; no class): 1 is without guidance.
    """

    samplers: tuple[Sampler, ...] = ()
    steps: Annotated[int, Field(ge=1)] = 1
    max_steps: Annotated[int, Field(ge=1)] = 1
    rho: Annotated[float, Field(gt=0)] = 7.0
    guidance: Annotated[float, Field(ge=0)] | None = None
    temperature: Annotated[float, Field(ge=0)] | None = None


class Calibration(_Strict):
    """Scores of held-out normal data: a one-dimensional float64 `.npy`, ascending. Higher is more normal.

    `statistic` says what was stored: `log_prob` of an item, or `log_prob_per_token` of text windows.
    """

    scores: FileRef
    size: Annotated[int, Field(ge=1)]
    statistic: Literal["log_prob", "log_prob_per_token"]
    data: str


class Measurement(_Strict):
    """One figure that `training evaluate` measured."""

    metric: str
    value: float
    unit: str = ""
    data: str
    size: Annotated[int, Field(ge=1)]
    seed: int | None = None
    note: str = ""
    judge: Sha256 | None = None
    """The graph whose features or classes the figure rests on."""


class Provenance(_Strict):
    """How the model came to be."""

    recipe: str
    hyper_parameters: dict[str, Any]
    seed: int
    versions: dict[str, str]
    hardware: str
    wall_time_seconds: Annotated[float, Field(ge=0)]
    steps: Annotated[int, Field(ge=0)]
    parameters: Annotated[int, Field(ge=0)]
    created: str


class Manifest(_Strict):
    """A model: what it can do, with which files, on what data, how good it is and where it comes from."""

    schema_version: Literal[1] = 1
    name: Slug
    version: Version
    family: str
    description: str
    licence: str
    capabilities: Annotated[dict[Capability, Graph], Field(min_length=1)]
    data: Data
    latent: Latent | None = None
    text: Text | None = None
    pixels: Pixels | None = None
    restoration: Restoration | None = None
    sigma_range: tuple[float, float] | None = None
    sampling: Sampling = Sampling()
    calibration: Calibration | None = None
    evaluation: tuple[Measurement, ...] = ()
    sheet: FileRef | None = None
    """A picture of what the model does, PNG."""
    provenance: Provenance | None = None

    @model_validator(mode="after")
    def _complete(self) -> "Manifest":
        problems = [
            f"capabilities.{capability.value}.{problem}"
            for capability, graph in self.capabilities.items()
            for problem in mismatches(capability, graph.inputs, graph.outputs)
        ]
        if Capability.DECODE in self.capabilities and self.latent is None:
            problems.append("latent: expected the prior of decode's z, found none")
        if self.data.kind == "text" and self.text is None:
            problems.append("text: expected the tokenizer of a model of text, found none")
        if self.data.kind != "text" and Capability.NEXT_TOKEN in self.capabilities and self.pixels is None:
            problems.append("pixels: expected how the image becomes tokens, found none")
        if self.pixels is not None and (self.data.kind != "image" or None in self.data.shape):
            found_data = f"{self.data.kind} {list(self.data.shape)}"
            problems.append(f"pixels: expected data that are images of one size, found {found_data}")
        positive = self.sigma_range is not None and self.sigma_range[0] > 0
        if Capability.DENOISE_STEP in self.capabilities and not positive:
            problems.append(
                f"sigma_range: expected the positive noise levels of denoise_step, found {self.sigma_range}"
            )
        rank = {"image": 3, "vector": 1, "text": 0}[self.data.kind]
        if len(self.data.shape) != rank or (rank and self.data.shape[0] is None):
            found = list(self.data.shape) or "none"
            problems.append(f"data.shape: expected the dimensions of one {self.data.kind}, found {found}")
        for capability, graph in self.capabilities.items():
            for tensor in (*graph.inputs, *graph.outputs):
                if wrong := self._misfit(capability, tensor):
                    problems.append(f"capabilities.{capability.value}.{tensor.name}: {wrong}, found {tensor}")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _misfit(self, capability: Capability, tensor: TensorSpec) -> str | None:
        """Where a sample's tensor or the logits contradict the description of the data."""
        sample = tensor.name in ("x", "x_t", "x_hat", "x0")
        if sample and self.data.kind != "text":
            known = (
                self.degraded_shape if tensor.name == "x" and capability is Capability.RECONSTRUCT else self.data.shape
            )
            sides = tensor.shape[1:]
            fits = len(sides) == len(known) and all(
                isinstance(side, str) if want is None else side == want for side, want in zip(sides, known, strict=True)
            )
            return None if fits else f"expected a sample of shape {list(known)}"
        if tensor.name == "logits" and capability is Capability.NEXT_TOKEN:
            wanted = self.text.vocabulary if self.text else self.pixels.levels if self.pixels else None
            return f"expected {wanted} logits" if wanted not in (None, tensor.shape[-1]) else None
        return None

    @property
    def context(self) -> int:
        """The most tokens in a row of `next_token`; of pixels, one for each value of the image."""
        if self.text is not None:
            return self.text.context
        return math.prod(side or 0 for side in self.data.shape)

    @property
    def degraded_shape(self) -> tuple[int | None, ...]:
        """The shape of `reconstruct`'s x."""
        shape = self.data.shape
        if self.restoration is None or not shape:
            return shape
        if self.restoration.degradation == "grey":
            return (1, *shape[1:])
        factor = (self.restoration.factor or 1) if self.restoration.degradation == "downscale" else 1
        return (shape[0], *(side and side // factor for side in shape[1:]))

    def files(self) -> list[FileRef]:
        """Every file that belongs to the model."""
        refs: list[FileRef] = []
        for graph in self.capabilities.values():
            refs += [graph, *graph.external_data]
        if self.text:
            refs.append(self.text.tokenizer)
        if self.calibration:
            refs.append(self.calibration.scores)
        if self.sheet:
            refs.append(self.sheet)
        return refs


def read_manifest(directory: Path) -> Manifest:
    """Read a model directory's manifest.

    Raises ManifestError where it is missing, too large, not JSON, or not a manifest.
    """
    path = directory / MANIFEST_NAME
    try:
        with path.open("rb") as stream:
            text = stream.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise ManifestError(f"{MANIFEST_NAME}: expected a readable file, found {error.strerror}") from error
    if len(text) > MAX_MANIFEST_BYTES:
        raise ManifestError(f"{MANIFEST_NAME}: expected at most {MAX_MANIFEST_BYTES} bytes, found more")
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        raise ManifestError("; ".join(_sentence(e) for e in error.errors())) from error


def _sentence(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{where}: expected no such key, found {error['input']!r:.80}"
    if error["type"] in ("value_error", "json_invalid"):
        return f"{where}: {error['msg'].removeprefix('Value error, ')}".removeprefix(": ")
    if error["type"] == "missing":
        return f"{where}: expected a value, found none"
    return f"{where}: {error['msg']}, found {error['input']!r:.80}"


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write the manifest at once or not at all, so that a polling server never reads half of it."""
    text = json.dumps(manifest.model_dump(mode="json", exclude_none=True), indent=2, ensure_ascii=False) + "\n"
    handle, name = tempfile.mkstemp(dir=directory, prefix=".manifest-")
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)
    os.chmod(name, 0o644)
    os.replace(name, directory / MANIFEST_NAME)
