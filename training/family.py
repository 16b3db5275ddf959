"""What a model family is to the rest of `training`: losses to minimise and graphs to export.

A family is one file in `training/models/`, one `nn.Module` that derives from `Family`, exported there as `FAMILY`. It
knows no loop, logger, disk or HTTP; the loop, the exporter and the evaluation know it only through this page.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from contract import Capability
from contract.manifest import Column, Density

Batch = dict[str, Tensor]


class Source(Protocol):
    """A training set, or a held-out part of one."""

    def __len__(self) -> int: ...

    def at(self, indices: Tensor, generator: torch.Generator | None = None) -> Batch:
        """The items of these numbers, varied by the generator where there is one."""
        ...


class Frozen(BaseModel):
    """Settings that refuse unknown keys and cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class OptimizerConfig(Frozen):
    """The recipe's [optimizer] section. `muon_learning_rate` is for the families that use Muon for their matrices."""

    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    muon_learning_rate: float = 0.02
    muon_weight_decay: float = 0.0


@dataclass(frozen=True)
class DataSummary:
    """What a network has to know of its data. `shape` is (C, H, W), None for a free side; () for text."""

    kind: Literal["image", "vector", "text"]
    shape: tuple[int | None, ...] = ()
    class_names: tuple[str, ...] = ()
    column_names: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    vocabulary: int = 0
    start_token: int = 0
    end_token: int | None = None

    @property
    def classes(self) -> int:
        return len(self.class_names)


@dataclass(frozen=True)
class GraphExport:
    """One ONNX graph to write, and how to check it.

    `module` takes `example`'s tensors positionally, in the signature's order, and returns a tensor or a tuple of
    tensors called `outputs`. `dynamic_shapes` names the free axes: `{"x": {0: "batch"}}`; inputs that are absent from
    it are fixed. `inputs(batch)` turns a held-out batch (whose first axis is the batch size) into the graph's inputs.
    `reference` is what ONNX Runtime is compared with, where `module` itself cannot run in torch.
    """

    capability: Capability
    module: nn.Module
    example: dict[str, Tensor]
    outputs: tuple[str, ...]
    dynamic_shapes: dict[str, dict[int, str]]
    inputs: Callable[[Batch], dict[str, Tensor]]
    tolerance: float
    density: Density | None = None
    opset: int = 18
    reference: nn.Module | None = None
    compare: tuple[str, ...] = field(default=())
    """The outputs that the parity gate compares; all of them where empty."""
    rows: Callable[[Batch], dict[str, Tensor]] | None = None
    """Inputs for the check of batch invariance, where a server batches others than `inputs`."""
    rewrite: Callable[[Any], Any] | None = None
    """Makes another ONNX model of the exported one, before it is compared with torch."""
    encoder: Path | None = None
    """An ONNX graph x -> embedding that is put before `module`, which takes the embedding for its x."""


class Family(nn.Module):
    """A generative model with its objective.

    `players` are the optimisers' names, alternated on each batch: a GAN has two.
    """

    players: ClassVar[tuple[str, ...]] = ("model",)
    teacher: str | None = None
    """The recipe whose trained family `start_from` is given before the first step; its run lies beside this one."""

    class Config(Frozen):
        """The recipe's [model] section: hyper-parameters of network and objective."""

    def __init__(self, config: Any, data: DataSummary):
        super().__init__()
        self.config: Any = config
        self.data = data

    def prepare(self, train: Source) -> None:
        """Look at the training set before the first step: scales, counts, points. What is learnt goes into buffers of
        a size that the configuration fixes, for they are saved with the weights."""

    def start_from(self, teacher: "Family") -> None:
        """Take what the family needs of its teacher's averaged weights."""

    def parameters_of(self, player: str) -> Iterable[nn.Parameter]:
        """The parameters that `player` trains."""
        return self.parameters()

    def optimizers(self, player: str, settings: OptimizerConfig) -> list[torch.optim.Optimizer]:
        """The player's optimisers; their learning rates are the peaks of the schedule."""
        return [
            torch.optim.AdamW(
                self.parameters_of(player),
                lr=settings.learning_rate,
                betas=settings.betas,
                weight_decay=settings.weight_decay,
            )
        ]

    def loss(self, player: str, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss that `player` minimises on this batch, a scalar, and scalars to log. All noise is `generator`'s."""
        raise NotImplementedError

    def validation(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Scalars, averaged over held-out training data; the checkpoint with the lowest `loss` is kept.

        Without a `loss` the last checkpoint is kept. Runs in evaluation mode, without gradients, with the averaged
        weights and the same `generator` each time.
        """
        return {}

    def fit(self, held_out: Iterable[Batch]) -> dict[str, float]:
        """Fit what is left after training on held-out training data, before export; what was fitted, by name."""
        return {}

    def graphs(self) -> list[GraphExport]:
        """The graphs to export, in evaluation mode on the CPU in float32."""
        raise NotImplementedError

    def manifest_parts(self) -> dict[str, Any]:
        """The manifest's fields that only the family knows: latent, sigma_range, sampling, restoration, pixels; and
        `shape`, where the graphs take samples of another than the training set's."""
        return {}
