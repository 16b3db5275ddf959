"""Where the parts of a manifest contradict each other. Each sentence gives what was expected and what was found."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from contract.signatures import Capability, TensorSpec, concatenates, mismatches

if TYPE_CHECKING:
    from contract.manifest import Manifest


def disagreements(manifest: "Manifest") -> Iterator[str]:
    """Everything that is wrong with a manifest whose fields are right one by one."""
    for capability, graph in manifest.capabilities.items():
        for problem in mismatches(capability, graph.inputs, graph.outputs):
            yield f"capabilities.{capability.value}.{problem}"
    yield from _missing(manifest)
    yield from _of_scores(manifest)
    yield from _of_data(manifest)
    for capability, graph in manifest.capabilities.items():
        for tensor in (*graph.inputs, *graph.outputs):
            if wrong := _misfit(manifest, capability, tensor):
                yield f"capabilities.{capability.value}.{tensor.name}: {wrong}, found {tensor}"


def _missing(manifest: "Manifest") -> Iterator[str]:
    """What a capability needs beside its graph."""
    capabilities, kind = manifest.capabilities, manifest.data.kind
    if Capability.DECODE in capabilities and manifest.latent is None:
        yield "latent: expected the prior of decode's z, found none"
    if kind == "text" and manifest.text is None:
        yield "text: expected the tokenizer of a model of text, found none"
    whole = sorted(c.value for c in capabilities if c in (Capability.LOG_DENSITY, Capability.SCORE, Capability.ENCODE))
    if manifest.text is not None and manifest.text.start_token is None and whole:
        yield f"text.start_token: expected the token before every text, for {', '.join(whole)}; found none"
    if kind != "text" and Capability.NEXT_TOKEN in capabilities and manifest.pixels is None:
        yield "pixels: expected how the image becomes tokens, found none"
    positive = manifest.sigma_range is not None and manifest.sigma_range[0] > 0
    if Capability.DENOISE_STEP in capabilities and not positive:
        yield f"sigma_range: expected the positive noise levels of denoise_step, found {manifest.sigma_range}"


def _of_scores(manifest: "Manifest") -> Iterator[str]:
    graph, scoring = manifest.capabilities.get(Capability.SCORE), manifest.scoring
    if graph is None and scoring is not None:
        yield f"scoring: expected a score graph for {', '.join(scoring.statistics)}, found none"
    if graph is not None and scoring is None:
        yield "scoring: expected the names of score's statistics, found none"
    if graph is not None and scoring is not None:
        columns = next((t.shape[-1] for t in graph.outputs if t.name == "normality" and t.shape), None)
        if isinstance(columns, int) and columns != len(scoring.statistics):
            yield f"scoring.statistics: expected {columns} for normality's columns, found {len(scoring.statistics)}"
    wanted = "normality" if scoring else "log_prob_per_token" if manifest.data.kind == "text" else "log_prob"
    if manifest.calibration is not None and manifest.calibration.statistic != wanted:
        yield f"calibration.statistic: expected {wanted}, found {manifest.calibration.statistic}"


def _of_data(manifest: "Manifest") -> Iterator[str]:
    data = manifest.data
    rank = {"image": 3, "vector": 1, "text": 0}[data.kind]
    if len(data.shape) != rank or (rank and data.shape[0] is None):
        yield f"data.shape: expected the dimensions of one {data.kind}, found {list(data.shape) or 'none'}"
    if manifest.pixels is not None and (data.kind != "image" or None in data.shape):
        yield f"pixels: expected data that are images of one size, found {data.kind} {list(data.shape)}"
    width = sum(column.width for column in data.columns)
    if data.columns and (data.kind != "vector" or data.shape != (width,)):
        yield f"data.columns: expected a vector of their {width} values, found {data.kind} {list(data.shape)}"


def _misfit(manifest: "Manifest", capability: Capability, tensor: TensorSpec) -> str | None:
    """Where a sample's tensor or the logits contradict the description of the data."""
    data = manifest.data
    if tensor.name in ("x", "x_t", "x_hat", "x0", "surprise") and data.kind != "text":
        degraded = tensor.name == "x" and capability is Capability.RECONSTRUCT
        known, sides = manifest.degraded_shape if degraded else data.shape, tensor.shape[1:]
        fits = len(sides) == len(known) and all(
            isinstance(side, str) if want is None else side == want for side, want in zip(sides, known, strict=True)
        )
        return None if fits else f"expected a sample of shape {list(known)}"
    if tensor.name == "logits" and capability is Capability.NEXT_TOKEN:
        wanted = manifest.text.vocabulary if manifest.text else manifest.pixels.levels if manifest.pixels else None
        found = tensor.shape[-1]
        if wanted is None or wanted == found:
            return None
        if concatenates(manifest.capabilities[capability].inputs):  # embeddings are often padded to a round number
            return f"expected {wanted} logits or more" if isinstance(found, int) and found < wanted else None
        return f"expected {wanted} logits"
    return None
