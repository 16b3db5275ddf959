"""The manifest: everything that a server or a person needs to know about a model, in one JSON file.

    exported/<name>/<version>/manifest.json   + the files that it lists, each with its sha256

Unknown keys are refused, so that a misspelt one cannot be silently ignored; file names are plain names inside the
model's directory, so that a manifest cannot reach outside of it.
"""

import json
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
    says what `log_prob` is: exact, a lower bound, or an unnormalised energy.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    external_data: tuple[FileRef, ...] = ()
    parity: Agreement | None = None
    batch_invariance: Agreement | None = None
    density: Literal["exact", "bound", "energy"] | None = None


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
    sigma_range: tuple[float, float] | None = None
    sampling: dict[str, float | int | str] = {}
    calibration: Calibration | None = None
    evaluation: tuple[Measurement, ...] = ()
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
        needs_text = self.data.kind == "text" or Capability.NEXT_TOKEN in self.capabilities
        if needs_text and self.text is None:
            problems.append("text: expected the tokenizer of a model of text, found none")
        rank = {"image": 3, "vector": 1, "text": 0}[self.data.kind]
        if len(self.data.shape) != rank or (rank and self.data.shape[0] is None):
            found = list(self.data.shape) or "none"
            problems.append(f"data.shape: expected the dimensions of one {self.data.kind}, found {found}")
        for capability, graph in self.capabilities.items():
            for tensor in (*graph.inputs, *graph.outputs):
                if wrong := self._misfit(tensor):
                    problems.append(f"capabilities.{capability.value}.{tensor.name}: {wrong}, found {tensor}")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _misfit(self, tensor: TensorSpec) -> str | None:
        """Where a sample's tensor or the logits contradict the description of the data."""
        if tensor.name in ("x", "x_t") and self.data.kind != "text":
            sides = tensor.shape[1:]
            fits = len(sides) == len(self.data.shape) and all(
                isinstance(side, str) if known is None else side == known
                for side, known in zip(sides, self.data.shape, strict=True)
            )
            return None if fits else f"expected a sample of data.shape {list(self.data.shape)}"
        if tensor.name == "logits" and self.text and tensor.shape[-1] != self.text.vocabulary:
            return f"expected text.vocabulary {self.text.vocabulary} logits"
        return None

    def files(self) -> list[FileRef]:
        """Every file that belongs to the model."""
        refs: list[FileRef] = []
        for graph in self.capabilities.values():
            refs += [graph, *graph.external_data]
        if self.text:
            refs.append(self.text.tokenizer)
        if self.calibration:
            refs.append(self.calibration.scores)
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
