"""From a trained family to a model directory: ONNX graphs through a parity gate, calibration, manifest.

The directory is made beside its place and renamed at the end, so that a server which polls sees all of it or none.
"""

import os
import platform
import shutil
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from contract import Capability, Manifest, write_manifest
from contract.manifest import Data, FileRef, Graph, Provenance, Text
from training.calibrate import calibration
from training.data import Dataset
from training.data.source import in_order
from training.graphs import sha256, write_graph
from training.loop import Trained
from training.quantize import WITH_WEIGHTS
from training.recipe import Recipe
from training.sharing import share_weights


def export(recipe: Recipe, trained: Trained, dataset: Dataset, exported: Path) -> Path:
    """Write `exported/<name>/<version>/` and return it; an older one of the same version is replaced.

    Raises ExportRefused, and then nothing is written.
    """
    place = exported / recipe.name / recipe.version
    place.parent.mkdir(parents=True, exist_ok=True)
    working = Path(tempfile.mkdtemp(dir=exported, prefix=f".{recipe.name}-"))
    try:
        held_out = in_order(dataset.validation, recipe.data.batch_size)
        fitted = trained.family.eval().fit(dataset.validation.at(indices) for indices in held_out)
        graphs = trained.family.eval().graphs()
        shown = dataset.encoded or dataset  # what a client gives
        if dataset.encoder is not None:
            graphs = [dataset.encoder.before(g) for g in graphs if list(g.example) == ["x"]]
        if recipe.export.weights != "float32":
            graphs = [WITH_WEIGHTS[recipe.export.weights](g) for g in graphs]
        capabilities = {
            g.capability: write_graph(g, shown.calibration, working, recipe.export.batch_sizes) for g in graphs
        }
        capabilities = share_weights(working, capabilities)
        if dataset.encoder is not None:
            fitted = fitted | {"encoder": dataset.encoder.sha256}
        manifest = _manifest(recipe, trained, fitted, shown, working, capabilities)
        if capabilities.keys() & {Capability.SCORE, Capability.LOG_DENSITY}:
            held_out = f"{shown.name}, held out of the training set"
            scores = calibration(working, manifest, shown.calibration, recipe.export.calibration_size, held_out)
            manifest = manifest.model_copy(update={"calibration": scores})
        write_manifest(working, manifest)
        os.chmod(working, 0o755)
        replace_directory(place, working)
    finally:
        shutil.rmtree(working, ignore_errors=True)
    return place


def _manifest(
    recipe: Recipe,
    trained: Trained,
    fitted: dict[str, float | str],
    dataset: Dataset,
    directory: Path,
    capabilities: dict[Capability, Graph],
) -> Manifest:
    summary = dataset.summary
    text = None
    if dataset.tokenizer is not None:
        dataset.tokenizer.save(str(directory / "tokenizer.json"))
        text = Text(
            tokenizer=_reference(directory / "tokenizer.json"),
            vocabulary=summary.vocabulary,
            start_token=summary.start_token,
            end_token=summary.end_token,
            context=recipe.data.context,
        )
    parts = trained.family.manifest_parts()
    fields = {
        "name": recipe.name,
        "version": recipe.version,
        "family": recipe.family,
        "description": recipe.description,
        "licence": recipe.licence,
        "capabilities": capabilities,
        "data": Data(
            kind=summary.kind,
            dataset=dataset.name,
            shape=parts.pop("shape", summary.shape),
            column_names=summary.column_names,
            columns=summary.columns,
            value_range=(0.0, 1.0) if summary.kind == "image" else None,
            class_names=summary.class_names,
        ),
        "text": text,
        "provenance": _provenance(recipe, trained, fitted),
    }
    return Manifest.model_validate({**fields, **parts})


def _provenance(recipe: Recipe, trained: Trained, fitted: dict[str, float | str]) -> Provenance:
    return Provenance(
        recipe=recipe.name,
        hyper_parameters=recipe.hyper_parameters() | ({"fitted": fitted} if fitted else {}),
        seed=recipe.seed,
        versions={"python": platform.python_version()}
        | {name: version(name) for name in ("torch", "lightning", "onnx", "onnxscript")},
        hardware=trained.hardware,
        wall_time_seconds=round(trained.seconds, 1),
        steps=trained.steps,
        parameters=sum(p.numel() for p in trained.family.parameters()),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _reference(path: Path) -> FileRef:
    return FileRef(file=path.name, sha256=sha256(path))


def replace_directory(place: Path, working: Path) -> None:
    """Put a finished model directory in its place; a server that polls sees the old one, none, or all of the new one."""
    old = place.with_name(f".{place.name}-old-{os.getpid()}")
    if place.exists():
        place.rename(old)
    working.rename(place)
    shutil.rmtree(old, ignore_errors=True)
