"""Training with Lightning's Trainer: seeds, precision, devices, logs and checkpoints are the Trainer's.

`Game` is all that it is told of a family: on each batch, every player in turn takes its loss and a step. Whatever is
random in a step is keyed by (seed, rank, step), so that a run which was killed and resumed ends with the same weights
as one that was not.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from training.data import Dataset
from training.data.source import Draws, in_order, keyed
from training.family import Batch, Family
from training.recipe import Recipe, load_recipe

RUNS = Path("runs")
VALIDATION = 2**31  # stands for the step in the key of validation's generator


class RunError(ValueError):
    """A run directory that cannot be used; the message gives the remedy."""


@dataclass(frozen=True)
class Trained:
    """The averaged weights of the chosen checkpoint, and how long they took."""

    family: Family
    steps: int
    seconds: float
    hardware: str


class Game(L.LightningModule):
    """A family, its averaged weights, and the rule by which its players take turns."""

    step: Tensor
    seconds: Tensor

    def __init__(self, family: Family, recipe: Recipe, dataset: Dataset):
        super().__init__()
        self.automatic_optimization = False
        self.family, self.recipe, self.dataset = family, recipe, dataset
        self.averaged = AveragedModel(family, avg_fn=self._average, use_buffers=False)
        self.averaged.requires_grad_(False)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.register_buffer("seconds", torch.zeros((), dtype=torch.float64))

    def _average(self, averaged: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
        """Exponential, with a shorter memory at the beginning."""
        decay = min(self.recipe.train.ema_decay, (1 + float(steps)) / (10 + float(steps)))
        return averaged.lerp(current, 1 - decay)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        self.of_player: dict[str, list[int]] = {}
        optimizers: list[torch.optim.Optimizer] = []
        for player in self.family.players:
            own = self.family.optimizers(player, self.recipe.optimizer)
            self.of_player[player] = list(range(len(optimizers), len(optimizers) + len(own)))
            optimizers += own
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group.setdefault("peak_lr", group["lr"])
        return optimizers

    def train_dataloader(self) -> Draws:
        recipe = self.recipe
        return Draws(
            self.dataset.train,
            recipe.data.batch_size,
            recipe.seed,
            recipe.train.steps,
            self.global_rank,
            int(self.step),
        )

    def val_dataloader(self) -> DataLoader:
        source = self.dataset.validation
        numbers: Any = in_order(source, min(self.recipe.data.batch_size, 64))
        return DataLoader(numbers, batch_size=None)

    def scale(self, step: int) -> float:
        """The learning rate's share of its peak."""
        train = self.recipe.train
        rise = min(1.0, (step + 1) / (train.warmup_steps + 1))
        fall = (train.steps - step) / max(1.0, train.decay_share * train.steps)
        return min(rise, fall, 1.0)

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        start, step, seed = time.perf_counter(), int(self.step), self.recipe.seed
        generator = keyed(seed, self.global_rank, step, 1, device=self.device)
        torch.manual_seed(generator.initial_seed())  # dropout
        optimizers = self.optimizers(use_pl_optimizer=True)
        optimizers = optimizers if isinstance(optimizers, list) else [optimizers]
        scale = self.scale(step)
        for player in self.family.players:
            parameters = list(self.family.parameters_of(player))
            if len(self.family.players) > 1:
                self.family.requires_grad_(False)
                for parameter in parameters:
                    parameter.requires_grad_(True)
            loss, logs = self.family.loss(player, batch, generator)
            self.manual_backward(loss)
            if self.recipe.train.gradient_clip is not None:
                logs["gradient"] = torch.nn.utils.clip_grad_norm_(parameters, self.recipe.train.gradient_clip)
            for i in self.of_player[player]:
                for group in optimizers[i].param_groups:
                    group["lr"] = group["peak_lr"] * scale
                optimizers[i].step()
                optimizers[i].zero_grad()
            prefix = "train/" if len(self.family.players) == 1 else f"train/{player}/"
            self.log(f"{prefix}loss", loss.detach(), prog_bar=True)
            self.log_dict({prefix + name: value.detach() for name, value in logs.items()})
        self.averaged.update_parameters(self.family)
        self.step += 1
        self.seconds += time.perf_counter() - start

    def validation_step(self, indices: Tensor, batch_idx: int) -> None:
        batch = {name: t.to(self.device) for name, t in self.dataset.validation.at(indices.cpu()).items()}
        generator = keyed(self.recipe.seed, VALIDATION, batch_idx, device=self.device)
        family: Any = self.averaged.module
        figures = family.validation(batch, generator)
        for name, value in figures.items():
            self.log(name, value, batch_size=len(indices), prog_bar=name == "loss", sync_dist=True)


def train(
    recipe: Recipe, dataset: Dataset, run_dir: Path, trainer_flags: dict[str, Any] | None = None, progress: bool = True
) -> Trained:
    """Train, or go on where a killed run left off, and return the chosen checkpoint's averaged weights.

    A family without parameters has learnt all that it can when it is prepared, and takes no step.
    `run_dir` keeps checkpoints and logs; `trainer_flags` (accelerator, devices, strategy …) go to Lightning's Trainer.
    Raises RunError where `run_dir` holds a run of other hyper-parameters, or the run to start from is none of this model.
    """
    last = run_dir / "last.ckpt"
    _claim(run_dir, recipe)
    if last.is_file() and _read(last)["state_dict"]["step"] >= recipe.train.steps:
        return trained(recipe, dataset, run_dir)
    L.seed_everything(recipe.seed, verbose=False)
    family = recipe.family_class(recipe.model_config_, dataset.summary)
    begun = time.perf_counter()
    family.prepare(dataset.train)
    if family.teacher is not None:
        teacher = load_recipe(family.teacher)
        family.start_from(trained(teacher, dataset, run_dir.parent / teacher.name).family)
    if recipe.train.start_from is not None and not last.is_file():
        _begin_with(family, Path(recipe.train.start_from))
    game = Game(family, recipe, dataset)
    if not any(True for _ in family.parameters()):
        game.step.fill_(recipe.train.steps)
        game.seconds.fill_(time.perf_counter() - begun)
        torch.save({"state_dict": game.state_dict()}, last)
        return trained(recipe, dataset, run_dir)
    has_loss = "validation" in type(game.family).__dict__
    settings = recipe.train
    if settings.compile:
        for network in _networks(game.family):
            network.compile()
    callbacks: list[L.Callback] = [
        ModelCheckpoint(
            run_dir, "last", every_n_epochs=0, every_n_train_steps=_optimizer_steps(game), enable_version_counter=False
        )
    ]
    if has_loss:
        callbacks.append(ModelCheckpoint(run_dir, "best", monitor="loss", mode="min", enable_version_counter=False))
    if progress:
        callbacks.append(TQDMProgressBar(refresh_rate=20))
    trainer = L.Trainer(
        **(trainer_flags or {}),
        max_epochs=1,
        precision=settings.precision,
        logger=[CSVLogger(run_dir, name="csv"), TensorBoardLogger(run_dir, name="tensorboard")],
        log_every_n_steps=min(20, settings.steps),
        callbacks=callbacks,
        val_check_interval=min(settings.validate_every, settings.steps),
        limit_val_batches=1.0 if has_loss else 0,
        num_sanity_val_steps=0,
        enable_progress_bar=progress,
        enable_model_summary=progress,
        use_distributed_sampler=False,
    )
    trainer.fit(game, ckpt_path=str(last) if last.is_file() else None, weights_only=False)
    trainer.save_checkpoint(last)
    return trained(recipe, dataset, run_dir)


def trained(recipe: Recipe, dataset: Dataset, run_dir: Path) -> Trained:
    """The chosen checkpoint of a run: the lowest validation loss, or the last one where the family has none.

    Raises RunError where there is none yet.
    """
    last = run_dir / "last.ckpt"
    _claim(run_dir, recipe)
    if not last.is_file():
        raise RunError(f"{run_dir}: found no checkpoint; run `python -m training train {recipe.name}` first")
    state, end = _chosen(run_dir), _read(last)["state_dict"]
    game = Game(recipe.family_class(recipe.model_config_, dataset.summary), recipe, dataset)
    game.load_state_dict(state)
    family = game.averaged.module.eval()
    assert isinstance(family, Family)
    return Trained(family, int(state["step"]), float(end["seconds"]), hardware())


def _networks(module: nn.Module) -> Iterator[nn.Module]:
    """The outermost modules that are called: lists of modules are only walked through."""
    for child in module.children():
        if isinstance(child, nn.ModuleList | nn.ModuleDict):
            yield from _networks(child)
        else:
            yield child


def _begin_with(family: Family, run_dir: Path) -> None:
    """Give a family the averaged weights of another run. Raises RunError where some of them have no place in it."""
    if not (run_dir / "last.ckpt").is_file():
        raise RunError(f"train.start_from: found no run at {run_dir}; give the directory of one that has a checkpoint")
    prefix = "averaged.module."
    theirs = {name.removeprefix(prefix): t for name, t in _chosen(run_dir).items() if name.startswith(prefix)}
    ours = family.state_dict()
    strange = sorted(name for name, t in theirs.items() if name not in ours or ours[name].shape != t.shape)
    if strange:
        raise RunError(
            f"train.start_from: the weights of {run_dir} do not fit this model ({', '.join(strange[:3])}): "
            "give it the same sizes"
        )
    family.load_state_dict(ours | theirs)


def _chosen(run_dir: Path) -> dict[str, Any]:
    """The state of the best checkpoint, or of the last one where none was the best."""
    best = run_dir / "best.ckpt"
    return _read(best if best.is_file() else run_dir / "last.ckpt")["state_dict"]


def hardware() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU, {torch.get_num_threads()} threads"


def _optimizer_steps(game: Game) -> int:
    """Lightning counts every optimiser's steps, and calls that `global_step`."""
    of_batch = sum(len(game.family.optimizers(p, game.recipe.optimizer)) for p in game.family.players)
    return game.recipe.train.checkpoint_every_steps * of_batch


def _read(checkpoint: Path) -> dict[str, Any]:
    return torch.load(checkpoint, map_location="cpu", weights_only=True)


def _claim(run_dir: Path, recipe: Recipe) -> None:
    """Write the hyper-parameters into a new run directory; refuse one that has others.

    An option that is younger than the run, and has its default here, does not make it another run.
    """
    path, ours = run_dir / "hyper_parameters.json", json.loads(json.dumps(recipe.hyper_parameters()))
    if not path.is_file():
        run_dir.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(ours, indent=2) + "\n", encoding="utf-8")
        return
    theirs = json.loads(path.read_text(encoding="utf-8"))
    for section, defaults in recipe.defaults().items():
        theirs[section] = defaults | theirs.get(section, {})
    differ = [
        f"{section}.{key} {theirs[section].get(key)!r} there, {value!r} here"
        for section, values in ours.items()
        if isinstance(values, dict)
        for key, value in values.items()
        if theirs.get(section, {}).get(key) != value
    ]
    if differ or theirs != ours:
        raise RunError(
            f"{run_dir}: holds a run of other hyper-parameters ({'; '.join(differ) or 'seed'}); "
            "delete it, or give another --run-dir"
        )
