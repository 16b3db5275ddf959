"""A recipe: one TOML file that says which family is trained, on what, how, and what is measured afterwards.

    name = "shakespeare-gpt"        # the model's name, and its directory's: exported/shakespeare-gpt/1/
    [data] [model] [optimizer] [train] [export] [evaluate]

Every key can be overridden from the command line: `--model.width 128 --train.steps 500`. Unknown keys are refused.
"""

import importlib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import to_jsonable_python

from contract.manifest import Slug, Version
from training.family import Family, Frozen, OptimizerConfig

RECIPES = Path(__file__).parent / "recipes"
FAMILIES = Path(__file__).parent / "models"


class RecipeError(ValueError):
    """A recipe or an override that cannot be used; the message names the key and the remedy."""


class DataConfig(Frozen):
    """What the network is trained on: a name that `training.data.load` knows.

    `crop` is a side in pixels, `context` a number of tokens, `vocabulary` the size of a tokenizer of pairs. `encoder` is
    an exported model, such as mnist-autoencoder/1, whose embedding of the images is then the data. Of images, `classes`
    are the labels that count as normal, all where none are given: neither training nor calibration sees the others.

    Of the dataset `pictures`, `path` is a folder of PNG or JPEG files, brought to squares of `side` pixels, grey unless
    `colours`; of `text`, it is a text file. Of the dataset `table`, `path` is a CSV or Parquet file of normal rows; texts are categories, and so are the columns
    `categories`; the columns `ignore` are left out. Of the dataset `lines`, it is a text with a normal item in each line.
    Rows and lines are held out at random, or with `shuffled = false` at the end.
    """

    dataset: str
    path: str | None = None
    categories: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    shuffled: bool = True
    side: Annotated[int, Field(ge=8, le=256)] = 32
    colours: bool = False
    encoder: str | None = None
    classes: tuple[int, ...] = ()
    batch_size: Annotated[int, Field(ge=1)] = 64
    crop: int | None = None
    flips: bool = False
    context: Annotated[int, Field(ge=2)] = 256
    tokenizer: Literal["characters", "bytes", "pairs"] = "characters"
    vocabulary: Annotated[int, Field(ge=258)] = 512


class TrainConfig(Frozen):
    """The loop. The learning rate rises over `warmup_steps`, and falls to zero over the last `decay_share` of all.

    `start_from` is the directory of another run, whose weights are where this one begins; what its model lacks begins as it
    does otherwise. `compile` lets torch compile the family's networks, which takes a C++ compiler and a minute."""

    steps: Annotated[int, Field(ge=1)]
    warmup_steps: Annotated[int, Field(ge=0)] = 100
    decay_share: Annotated[float, Field(ge=0, le=1)] = 1.0
    gradient_clip: Annotated[float, Field(gt=0)] | None = 1.0
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    validate_every: Annotated[int, Field(ge=1)] = 500
    checkpoint_every_steps: Annotated[int, Field(ge=1)] = 200
    start_from: str | None = None
    compile: bool = False


class ExportConfig(Frozen):
    """`batch_sizes` are those at which ONNX Runtime is compared with torch, and each row with itself in other batches; left out,
    they are a few for torch, and for the rows all those that a server gives the graph. With `weights` of 8 bits a graph that
    writes text token by token is several times as fast; its logits differ from torch's by up to 0.3. With those of 16 bits
    files have half the size."""

    batch_sizes: tuple[int, ...] | None = None
    calibration_size: Annotated[int, Field(ge=1)] = 5000
    weights: Literal["float32", "float16", "int8"] = "float32"


class EvaluateConfig(Frozen):
    """Names of metrics registered in `training/evaluation/`."""

    metrics: tuple[str, ...] = ()


class Recipe(Frozen):
    name: Slug
    version: Version = "1"
    family: str
    description: str
    licence: str
    seed: int = 0
    data: DataConfig
    model: dict[str, Any] = {}
    optimizer: OptimizerConfig = OptimizerConfig()
    train: TrainConfig
    export: ExportConfig = ExportConfig()
    evaluate: EvaluateConfig = EvaluateConfig()

    @property
    def family_class(self) -> type[Family]:
        return find_family(self.family)

    @property
    def model_config_(self) -> Any:
        return self.family_class.Config.model_validate(self.model)

    def hyper_parameters(self) -> dict[str, Any]:
        """All settings that shape the trained weights, defaults included."""
        sections = self.model_dump(mode="json", include={"seed", "data", "optimizer", "train"})
        return {**sections, "model": self.model_config_.model_dump(mode="json")}

    def defaults(self) -> dict[str, dict[str, Any]]:
        """The defaults of those hyper-parameters that have one, by section, as JSON has them."""
        sections: dict[str, type[BaseModel]] = {
            "data": DataConfig,
            "optimizer": OptimizerConfig,
            "train": TrainConfig,
            "model": self.family_class.Config,
        }
        return {
            section: {
                name: to_jsonable_python(field.get_default(call_default_factory=True))
                for name, field in config.model_fields.items()
                if not field.is_required()
            }
            for section, config in sections.items()
        }


def find_family(name: str) -> type[Family]:
    known = sorted(p.stem for p in FAMILIES.glob("*.py") if p.stem != "__init__")
    if name not in known:
        raise RecipeError(f"family: found {name!r}, expected one of {', '.join(known)}")
    return importlib.import_module(f"training.models.{name}").FAMILY


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read `training/recipes/<name>.toml`, or a path to a recipe, and apply `--section.key value` pairs.

    Raises RecipeError.
    """
    path = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
        raise RecipeError(f"recipe: found no {name!r}, expected a path to a .toml file or one of {known}") from error
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path.name}: {error}") from error
    for key, value in _pairs(overrides):
        _assign(content, key, value)
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        raise RecipeError(_explain(error, "", Recipe)) from error
    family = find_family(recipe.family)
    try:
        family.Config.model_validate(recipe.model)
    except ValidationError as error:
        raise RecipeError(_explain(error, "model.", family.Config)) from error
    return recipe


def _pairs(overrides: Sequence[str]) -> list[tuple[str, Any]]:
    """`--a.b 1 --c=x` as [("a.b", 1), ("c", "x")]; values are TOML where they parse as such."""
    pairs, rest = [], list(overrides)
    while rest:
        flag = rest.pop(0)
        if not flag.startswith("--"):
            raise RecipeError(f"{flag}: expected an override such as --train.steps 500")
        key, equals, text = flag[2:].partition("=")
        if not equals:
            if not rest:
                raise RecipeError(f"{flag}: expected a value after it")
            text = rest.pop(0)
        pairs.append((key, _value(text)))
    return pairs


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _assign(content: dict[str, Any], key: str, value: Any) -> None:
    *sections, name = key.split(".")
    for section in sections:
        content = content.setdefault(section, {})
        if not isinstance(content, dict):
            raise RecipeError(f"--{key}: {section} is a value, not a section")
    content[name] = value


def _explain(error: ValidationError, prefix: str, model: type[BaseModel]) -> str:
    sentences = []
    for item in error.errors():
        where = prefix + ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            sentences.append(f"{where}: unknown; known here: {', '.join(_siblings(model, item['loc']))}")
        else:
            sentences.append(f"{where.rstrip('.')}: {item['msg']}, found {item['input']!r:.80}")
    return "; ".join(sentences)


def _siblings(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for part in location[:-1]:
        annotation = model.model_fields[str(part)].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
    return list(model.model_fields)
