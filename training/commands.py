"""The sub-commands of `python -m training`, each in a few lines."""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from contract import ManifestError, read_manifest
from contract.files import MANIFEST_NAME
from service.signing import SigningError, sign
from training import data, loop
from training.adopt import Adoption, AdoptionError, adopt
from training.calibrate import CalibrationError, renew
from training.data.source import DataError
from training.evaluate import EvaluationError, evaluate, find_metrics, has_table, renew_table
from training.evaluation.sheets import write_sheet
from training.export import export
from training.graphs import ExportRefused
from training.recipe import Recipe, RecipeError, load_recipe
from training.report import write_report

EXPORTED = Path("exported")
README = Path("README.md")
"""The page whose table of models is renewed where none is named: the working directory's, of the models in its exported/."""

INPUT_ERRORS = (
    RecipeError,
    DataError,
    loop.RunError,
    ExportRefused,
    EvaluationError,
    ManifestError,
    CalibrationError,
    SigningError,
    AdoptionError,
)


def run(options: argparse.Namespace, overrides: list[str]) -> None:
    """Do what the options' command says."""
    if options.command == "report":
        if overrides:
            raise RecipeError(f"report: expected no overrides, found {' '.join(overrides)}")
        print(f"wrote {options.output}, of {write_report(options.exported, options.output)} models")
        return
    if options.command == "calibrate":
        if overrides:
            raise RecipeError(f"calibrate: expected no overrides, found {' '.join(overrides)}")
        renewed = renew(options.model, options.data, options.size)
        print(
            f"calibrated {options.model} on {renewed.size} items; the smallest p-value is {1 / (renewed.size + 1):.2g}"
        )
        return
    if options.command == "adopt":
        if overrides:
            raise RecipeError(f"adopt: expected no overrides, found {' '.join(overrides)}")
        asked = Adoption(options.name, options.version, options.description, options.licence, options.context)
        print(f"wrote {adopt(options.folder, asked, options.exported)}")
        return
    if options.command == "sign":
        if overrides:
            raise RecipeError(f"sign: expected no overrides, found {' '.join(overrides)}")
        read_manifest(options.model)
        print(f"wrote {sign(options.model, options.key)}")
        return
    if options.threads:
        torch.set_num_threads(options.threads)
    is_model = (Path(options.recipe) / MANIFEST_NAME).is_file()
    if is_model and options.command != "evaluate":
        raise RecipeError(f"{options.command}: expected a recipe, found the model directory {options.recipe}")
    recipe = load_recipe(_recipe_of(Path(options.recipe)) if is_model else options.recipe, overrides)
    find_metrics(recipe.evaluate.metrics)  # refuse unknown ones before hours of training
    if options.command == "evaluate":
        place = Path(options.recipe) if is_model else options.exported / recipe.name / recipe.version
        _evaluate(recipe, place, options)
        return
    dataset = data.load(recipe.data, options.data_root, options.exported)
    run_dir = options.run_dir or loop.RUNS / recipe.name
    if options.command == "export":
        trained = loop.trained(recipe, dataset, run_dir)
    else:
        trained = loop.train(recipe, dataset, run_dir, _trainer_flags(options), progress=not options.no_progress)
    if options.command in ("export", "run"):
        place = export(recipe, trained, dataset, options.exported)
        print(f"wrote {place}")
    if options.command == "run":
        _evaluate(recipe, place, options)


def _recipe_of(model: Path) -> str:
    provenance = read_manifest(model).provenance
    if provenance is None:
        raise RecipeError(f"{model}: its manifest has no provenance.recipe; name a recipe instead")
    return provenance.recipe


def _evaluate(recipe: Recipe, place: Path, options: argparse.Namespace) -> None:
    for figure in evaluate(place, recipe.evaluate.metrics, options.data_root, recipe.seed):
        print(json.dumps(figure.model_dump(exclude_none=True), ensure_ascii=False))
    write_sheet(place, options.data_root, recipe.seed)
    store = place.resolve().parents[1]
    page = options.readme or (README if store == EXPORTED.resolve() and has_table(README) else None)
    if page is not None:
        renew_table(page, store)


def _trainer_flags(options: argparse.Namespace) -> dict[str, Any]:
    devices = int(options.devices) if str(options.devices).isdigit() else options.devices
    return {"accelerator": options.accelerator, "devices": devices, "strategy": options.strategy}
