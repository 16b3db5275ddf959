"""Normalizing flow for tables: neural spline couplings (Durkan et al. 2019, arXiv 1906.04032), with an exact density.

x (B, D) -> z (B, D) ~ N(0, 1) by the chain of invertible maps of training/layers/spline_flow.py:

    log p(x) = log N(z; 0, 1) + log |det dz/dx|                         [nats per row, in the units of the table]

Rows of a table repeat values, of which no density is bounded: in training x + u takes the place of x, u uniform over a
cell around 0 (dequantisation). A cell is 1 for columns of integers, and `grain` standard deviations for others. The graphs
score x as it is, at the centre of its cell, and what they decode is not rounded.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from contract import Capability
from training.family import Batch, DataSummary, Family, Frozen, GraphExport, Source
from training.layers.spline_flow import SplineFlow, Tails

PREPARED_ROWS = 40_000  # torch takes quantiles of 2^24 numbers at most


class Graph(nn.Module):
    """One direction of the flow as a module: what its `method` returns."""

    def __init__(self, flow: SplineFlow, method: Literal["log_prob", "embedding", "inverse"]):
        super().__init__()
        self.flow, self.method = flow, method

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self.flow, self.method)(x)


class TableFlow(Family):
    """Exact density, samples and embeddings of vectors."""

    cell: Tensor

    class Config(Frozen):
        """`bound` is where the splines end and the identity begins, in standard deviations; `width` and `depth` are of
        the couplings' networks; `tails` says whether columns pass through arcsinh."""

        layers: int = 6
        bins: int = 8
        bound: float = 5.0
        width: int = 128
        depth: int = 2
        dropout: float = 0.0
        mixing: Literal["permutation", "linear"] = "permutation"
        tails: Tails = "normal"
        grain: float = 0.0

    def __init__(self, config: Config, data: DataSummary):
        super().__init__(config, data)
        if data.kind != "vector" or (data.shape[0] or 0) < 2:
            raise ValueError(f"data.shape: expected vectors of 2 numbers or more, found {data.kind} {list(data.shape)}")
        self.size = data.shape[0] or 0
        self.flow = SplineFlow(
            self.size,
            layers=config.layers,
            tails=config.tails,
            linear=config.mixing == "linear",
            bins=config.bins,
            bound=config.bound,
            width=config.width,
            depth=config.depth,
            dropout=config.dropout,
        )
        self.register_buffer("cell", torch.zeros(self.size))

    def prepare(self, train: Source) -> None:
        rows = torch.linspace(0, len(train) - 1, min(len(train), PREPARED_ROWS)).long()
        x = train.at(rows)["x"]
        self.cell.copy_(torch.where((x == x.round()).all(0), 1.0, self.config.grain * x.std(0)))
        self.flow.columns.take(x, self.cell)

    def nats(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """-log p of dequantised rows, (B,)."""
        noise = torch.rand(x.shape, generator=generator, device=x.device) - 0.5
        return -self.flow.log_prob(x + self.cell * noise)

    def loss(self, player: str, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        loss = self.nats(batch["x"], generator).mean()
        return loss, {"nats": loss.detach()}

    def validation(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        return {"loss": self.nats(batch["x"], generator).mean()}

    def graphs(self) -> list[GraphExport]:
        flow = self.flow.fused()
        rows, axes = torch.randn(2, self.size), {0: "batch"}

        def vectors(batch: Batch) -> dict[str, Tensor]:
            return {"x": batch["x"]}

        def latents(batch: Batch) -> dict[str, Tensor]:
            return {"z": torch.randn(batch["x"].shape, generator=torch.Generator().manual_seed(0))}

        return [
            GraphExport(
                capability=Capability.LOG_DENSITY,
                module=Graph(flow, "log_prob"),
                example={"x": rows},
                outputs=("log_prob",),
                dynamic_shapes={"x": axes},
                inputs=vectors,
                tolerance=1e-4,
                density="exact",
            ),
            GraphExport(
                capability=Capability.ENCODE,
                module=Graph(flow, "embedding"),
                example={"x": rows},
                outputs=("embedding",),
                dynamic_shapes={"x": axes},
                inputs=vectors,
                tolerance=1e-4,
            ),
            GraphExport(
                capability=Capability.DECODE,
                module=Graph(flow, "inverse"),
                example={"z": rows},
                outputs=("x",),
                dynamic_shapes={"z": axes},
                inputs=latents,
                tolerance=1e-3 * float(flow.columns.scale.max()),
            ),
        ]

    def manifest_parts(self) -> dict[str, Any]:
        return {"latent": {"size": self.size, "prior": "normal"}, "sampling": {"temperature": 1.0}}


FAMILY = TableFlow
