"""Measure an exported model through its ONNX graphs, and write the figures into its manifest and the README's table.

A metric is a function `metric(model, data_root, seed) -> list[Measurement]`, registered by `@metric`; a recipe's
[evaluate] section names those that it wants. A figure for which something is drawn has the seed; the note of any other
says that it is deterministic.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from contract import Capability, Manifest, read_manifest, write_manifest
from contract.manifest import Measurement
from training import evaluation
from training.graphs import open_session
from training.recipe import DataConfig

BATCH_SIZE = 100
HEADLINE = 3
DETERMINISTIC = "deterministic"
BEGIN, END = "<!-- models:begin -->", "<!-- models:end -->"


class EvaluationError(ValueError):
    """A metric that is not known or cannot be measured; the message names what is."""


@dataclass(frozen=True, eq=False)
class ExportedModel:
    """A model directory, and sessions on its graphs. It is the same one while its graphs are: by it is kept what metrics
    share."""

    directory: Path
    manifest: Manifest

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ExportedModel) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[Path | str, ...]:
        return self.directory, *(graph.sha256 for graph in self.manifest.capabilities.values())

    @classmethod
    def open(cls, directory: Path) -> "ExportedModel":
        return cls(directory, read_manifest(directory))

    @property
    def trained_on(self) -> DataConfig | None:
        """The data as its recipe named them, where the manifest says it."""
        provenance = self.manifest.provenance
        data = provenance.hyper_parameters.get("data") if provenance else None
        return DataConfig.model_validate(data) if data else None

    def session(self, capability: Capability) -> onnxruntime.InferenceSession:
        if capability not in self.manifest.capabilities:
            raise EvaluationError(f"{self.manifest.name}: has no {capability.value} to measure")
        return open_session(self.directory / self.manifest.capabilities[capability].file)

    def run(self, capability: Capability, inputs: dict[str, np.ndarray], output: str) -> np.ndarray:
        """One output of a graph for many rows, in batches.

        Raises EvaluationError where the model has no such graph or output.
        """
        session = self.session(capability)
        if output not in [port.name for port in session.get_outputs()]:
            raise EvaluationError(f"{self.manifest.name}: its {capability.value} has no {output} to measure")
        rows = len(next(iter(inputs.values())))
        batches = (slice(first, first + BATCH_SIZE) for first in range(0, rows, BATCH_SIZE))
        return np.concatenate(
            [
                session.run([output], {name: np.ascontiguousarray(a[batch]) for name, a in inputs.items()})[0]
                for batch in batches
            ]
        )


Metric = Callable[[ExportedModel, Path | None, int], list[Measurement]]
METRICS: dict[str, Metric] = {}


def metric(function: Metric) -> Metric:
    """Register a metric under its function's name."""
    METRICS[function.__name__] = function
    return function


def find_metrics(names: tuple[str, ...]) -> list[Metric]:
    """The metrics of these names; raises EvaluationError for one that is not registered."""
    for module in pkgutil.iter_modules(evaluation.__path__):
        importlib.import_module(f"training.evaluation.{module.name}")
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise EvaluationError(f"evaluate.metrics: unknown {', '.join(unknown)}; known: {', '.join(sorted(METRICS))}")
    return [METRICS[name] for name in names]


def evaluate(directory: Path, metrics: tuple[str, ...], data_root: Path | None, seed: int = 0) -> list[Measurement]:
    """Measure, and replace the manifest's figures by the new ones."""
    functions = find_metrics(metrics)
    model = ExportedModel.open(directory)
    figures = [_settled(figure) for function in functions for figure in function(model, data_root, seed)]
    write_manifest(directory, model.manifest.model_copy(update={"evaluation": tuple(figures)}))
    return figures


def _settled(figure: Measurement) -> Measurement:
    """A figure has the seed of what was drawn for it, or says that nothing was."""
    if figure.seed is not None:
        return figure
    return figure.model_copy(update={"note": "; ".join(filter(None, (figure.note, DETERMINISTIC)))})


def headline(manifest: Manifest) -> str:
    """The first few figures in a line; all of them are in the manifest and in the report."""
    return "; ".join(f"{f.metric} {f.value:.4g} {f.unit}".strip() for f in manifest.evaluation[:HEADLINE])


def megabytes(directory: Path, manifest: Manifest) -> float:
    """Of all files that the manifest names but its picture."""
    names = {ref.file for ref in manifest.files() if ref != manifest.sheet}
    return sum((directory / name).stat().st_size for name in names) / 1e6


def table(exported: Path) -> str:
    """A Markdown table with one row for each exported model."""
    lines = ["| model | family | can | measured | MB |", "|---|---|---|---|---:|"]
    for path in sorted(exported.glob("*/*/manifest.json")):
        manifest = read_manifest(path.parent)
        can = ", ".join(f"`{capability.value}`" for capability in manifest.capabilities)
        size = f"{megabytes(path.parent, manifest):.2f}"
        lines.append(f"| `{manifest.name}` | {manifest.family} | {can} | {headline(manifest)} | {size} |")
    return "\n".join(lines)


def has_table(readme: Path) -> bool:
    """Whether the page is there, with a table of models in it."""
    return readme.is_file() and BEGIN in readme.read_text(encoding="utf-8")


def renew_table(readme: Path, exported: Path) -> None:
    """Replace what stands between the markers of the page.

    Raises EvaluationError where it has no markers.
    """
    page = readme.read_text(encoding="utf-8")
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise EvaluationError(f"{readme}: expected {BEGIN} and {END}, found none")
    readme.write_text(f"{before}{BEGIN}\n{table(exported)}\n{END}{after}", encoding="utf-8")
