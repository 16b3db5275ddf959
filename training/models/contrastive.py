"""Self-supervised embeddings of images: SimCLR (Chen et al. 2020, arXiv 2002.05709) or VICReg (Bardes et al. 2022, arXiv
2105.04906).

Two distorted views of each image, x, x' (B, C, H, W) -> h = f(x) (B, D) -> z = g(h) (B, P). The loss draws the two views
of one image together and keeps different images apart; labels play no part. g is left behind: h is the embedding.

| objective | loss                                                                                                  |
|-----------|-------------------------------------------------------------------------------------------------------|
| simclr    | -log softmax of cos(z_i, z_j) / temperature over the other 2B - 1 views, at the twin j (NT-Xent, eq. 1) |
| vicreg    | 25 invariance + 25 variance + 1 covariance (eq. 6)                                                     |
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contract import Capability
from training.family import Batch, DataSummary, Family, Frozen, GraphExport, OptimizerConfig
from training.layers.distortions import Distortions
from training.layers.plain_convolutions import PlainConvolutions
from training.muon import muon_and_adamw


def nt_xent(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """The normalised, temperature-scaled cross-entropy of two views a, b (B, P) of the same images."""
    z = F.normalize(torch.cat([a, b]), dim=1)  # (2B, P)
    similarity = (z @ z.T / temperature).fill_diagonal_(-torch.inf)
    return F.cross_entropy(similarity, torch.arange(len(z), device=z.device).roll(len(a)))


def vicreg(a: Tensor, b: Tensor) -> Tensor:
    """Invariance, variance and covariance of two views a, b (B, P), weighted as in the paper."""
    variance, covariance = a.new_zeros(()), a.new_zeros(())
    for z in (a, b):
        z = z - z.mean(0)
        variance = variance + F.relu(1 - (z.var(0) + 1e-4).sqrt()).mean() / 2
        c = z.T @ z / (len(z) - 1)  # (P, P)
        covariance = covariance + (c.square().sum() - c.diagonal().square().sum()) / z.shape[1]
    return 25 * F.mse_loss(a, b) + 25 * variance + covariance


class Encode(nn.Module):
    """The `encode` graph: x -> h (B, D)."""

    def __init__(self, body: PlainConvolutions, features: int):
        super().__init__()
        self.body, self.norm = body, nn.BatchNorm1d(features)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.body(x)))


class Contrastive(Family):
    """Embeds images so that what is a small change of one lies near it."""

    class Config(Frozen):
        """`features` is the embedding's size D, `projection` the size P of what the loss sees."""

        objective: Literal["simclr", "vicreg"] = "simclr"
        widths: tuple[int, int, int] = (32, 64, 128)
        features: int = 256
        projection: int = 128
        temperature: float = 0.2
        distortions: Distortions = Distortions(
            turn=20, scale=0.25, stretch=0.15, shear=0.3, shift=0.1, bend=0.03, bold=0.8, hide=0.5
        )

    def __init__(self, config: Config, data: DataSummary):
        super().__init__(config, data)
        features = config.features
        self.encoder = Encode(PlainConvolutions(data.shape, config.widths, features), features)
        self.projector = nn.Sequential(
            nn.Linear(features, features, bias=False),
            *(nn.BatchNorm1d(features), nn.ReLU(), nn.Linear(features, config.projection)),
        )

    def optimizers(self, player: str, settings: OptimizerConfig) -> list[torch.optim.Optimizer]:
        return muon_and_adamw(self.parameters(), settings)

    def loss(self, player: str, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        views = self.config.distortions(torch.cat([batch["x"], batch["x"]]), generator)  # (2B, C, H, W)
        a, b = self.projector(self.encoder(views)).float().chunk(2)
        with torch.autocast(a.device.type, enabled=False):  # similarities need more than bfloat16's three digits
            loss = nt_xent(a, b, self.config.temperature) if self.config.objective == "simclr" else vicreg(a, b)
        return loss, {"similarity": F.cosine_similarity(a, b).mean().detach()}

    def graphs(self) -> list[GraphExport]:
        return [
            GraphExport(
                capability=Capability.ENCODE,
                module=self.encoder,
                example={"x": torch.rand(2, *self.encoder.body.shape)},
                outputs=("embedding",),
                dynamic_shapes={"x": {0: "batch"}},
                inputs=lambda batch: {"x": batch["x"]},
                tolerance=1e-4,
            )
        ]


FAMILY = Contrastive
