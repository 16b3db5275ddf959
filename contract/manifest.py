"""The manifest: everything that a server or a person needs to know about a model, in one JSON file.

    exported/<name>/<version>/manifest.json   + the files that it lists, each with its sha256

Unknown keys are refused, so that a misspelt one cannot be silently ignored; file names are plain names inside the
model's directory, so that a manifest cannot reach outside of it.
"""

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from contract.consistency import disagreements
from contract.signatures import Capability, TensorSpec

Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
Version = Annotated[str, Field(pattern=r"^[0-9]{1,6}(\.[0-9]{1,6}){0,2}$")]
Statistic = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]{0,63}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")]
Density = Literal["exact", "bound", "energy", "critic"]
Sampler = Literal["euler", "heun", "dpmpp_2m", "ancestral", "consistency"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


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

    `parity` compares it with torch; `float16` compares it with torch where it computes in float16, of `next_token` in the
    attention alone, as a GPU may where that is within the tolerance; `batch_invariance` compares a row in batches of different
    sizes. `density` says what `log_prob` is: exact, a lower bound, an unnormalised (negative) energy, or a critic's score: no
    density at all, but higher for what looks real to a discriminator.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    external_data: tuple[FileRef, ...] = ()
    parity: Agreement | None = None
    float16: Agreement | None = None
    batch_invariance: Agreement | None = None
    density: Density | None = None


class Column(_Strict):
    """One column of a table, as people know it.

    A number becomes one value of the vector, or two where it may be missing: `fill` and 1 in its place, else 0. A
    category becomes a value for each of `categories`, 1 where it is that one; a missing one is all 0, if it may be.
    """

    name: Annotated[str, Field(min_length=1, max_length=256)]
    kind: Literal["number", "category"] = "number"
    categories: tuple[str, ...] = ()
    may_be_missing: bool = False
    fill: float = 0.0

    @property
    def width(self) -> int:
        """How many values of the vector it takes."""
        return len(self.categories) if self.kind == "category" else 1 + self.may_be_missing


class Data(_Strict):
    """What a sample is. Images are (C, H, W) with null for a free side; vectors are (D,); text has no shape.

    `columns` says how the rows of a table become vectors; vectors that come as they are have `column_names` at most.
    """

    kind: Literal["image", "vector", "text"]
    dataset: str
    shape: tuple[int | None, ...] = ()
    value_range: tuple[float, float] | None = None
    class_names: tuple[str, ...] = ()
    column_names: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    side_multiple: Annotated[int, Field(ge=1)] = 1
    """Free image sides must be multiples of this; the caller pads by reflection and crops."""


class Latent(_Strict):
    """The prior of `decode`'s z."""

    size: Annotated[int, Field(ge=1)]
    prior: Literal["normal"] = "normal"


class Text(_Strict):
    """How text becomes tokens. `start_token`, where there is one, stands before every text, `end_token` behind a whole
    one; `context` is the most tokens in a row."""

    tokenizer: FileRef
    vocabulary: Annotated[int, Field(ge=2)]
    start_token: Annotated[int, Field(ge=0)] | None = None
    end_token: int | None = None
    context: Annotated[int, Field(ge=2)]

    @property
    def start(self) -> tuple[int, ...]:
        """What stands before every text."""
        return () if self.start_token is None else (self.start_token,)


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


class Scoring(_Strict):
    """What the columns of `score`'s `normality` are, and which of them decides where a request does not say.

    A statistic called `log_prob` is the density's logarithm in nats. `chosen_by` says how the default was chosen.
    """

    statistics: Annotated[tuple[Statistic, ...], Field(min_length=1)]
    default: Statistic
    chosen_by: str = ""

    @model_validator(mode="after")
    def _known(self) -> "Scoring":
        if self.default not in self.statistics or len(set(self.statistics)) < len(self.statistics):
            raise ValueError(f"default: expected one of different statistics {self.statistics}, found {self.default}")
        return self


class Calibration(_Strict):
    """Scores of held-out normal data: a float64 `.npy`, ascending, (n,) or, of `score`, (N, n). Higher is more normal.

    `statistic` says what was stored: `log_prob` of an item, `log_prob_per_token` of text windows, or the `normality` of
    an item by each statistic.
    """

    scores: FileRef
    size: Annotated[int, Field(ge=1)]
    statistic: Literal["log_prob", "log_prob_per_token", "normality"]
    data: str
    surprise: Annotated[float, Field(gt=0)] | None = None
    """What the surprise of a value of normal data exceeds once in a thousand times, where it is positive."""


class Measurement(_Strict):
    """One figure that `training evaluate` measured."""

    metric: str
    value: float
    unit: str = ""
    data: str
    size: Annotated[int, Field(ge=1)]
    seed: int | None = None
    """Of what was drawn to measure it; the note of a figure for which nothing was says `deterministic`."""
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
    scoring: Scoring | None = None
    calibration: Calibration | None = None
    evaluation: tuple[Measurement, ...] = ()
    sheet: FileRef | None = None
    """A picture of what the model does, PNG."""
    provenance: Provenance | None = None

    @model_validator(mode="after")
    def _complete(self) -> "Manifest":
        if problems := list(disagreements(self)):
            raise ValueError("; ".join(problems))
        return self

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
