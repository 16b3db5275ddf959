"""Classifier of small images, whose last hidden layer is the feature space in which generated images are judged.

x (B, C, H, W) in [0, 1] -> embedding (B, D) -> logits (B, K). A plain convolutional network with batch normalisation (Ioffe
& Szegedy 2015, arXiv 1502.03167); cross-entropy with smoothed labels on slightly distorted images. Fréchet distances,
precision and recall and classification accuracy of generators all rest on this one exported graph, as those of natural
images rest on an Inception network (Heusel et al. 2017, arXiv 1706.08500).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contract import Capability
from training.family import Batch, DataSummary, Family, Frozen, GraphExport, OptimizerConfig
from training.layers.distortions import Distortions
from training.layers.plain_convolutions import PlainConvolutions
from training.muon import muon_and_adamw


class Classify(nn.Module):
    """The `encode` graph: x -> (embedding, logits)."""

    def __init__(self, body: PlainConvolutions, features: int, classes: int):
        super().__init__()
        self.body, self.head = body, nn.Linear(features, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        embedding = F.relu(self.body(x))
        return embedding, self.head(embedding)


class Classifier(Family):
    """Tells the classes of labelled images apart."""

    class Config(Frozen):
        """`features` is the embedding's size, `smoothing` the share of a label that goes to all classes alike."""

        widths: tuple[int, int, int] = (32, 64, 128)
        features: int = 128
        smoothing: float = 0.0
        distortions: Distortions = Distortions(turn=10, scale=0.1, shear=0.1, shift=0.07)

    def __init__(self, config: Config, data: DataSummary):
        super().__init__(config, data)
        if not data.classes:
            raise ValueError("data.class_names: expected the classes to tell apart, found none")
        body = PlainConvolutions(data.shape, config.widths, config.features)
        self.network = Classify(body, config.features, data.classes)

    def optimizers(self, player: str, settings: OptimizerConfig) -> list[torch.optim.Optimizer]:
        return muon_and_adamw(self.parameters(), settings)

    def loss(self, player: str, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        _, logits = self.network(self.config.distortions(batch["x"], generator))
        loss = F.cross_entropy(logits, batch["label"], label_smoothing=self.config.smoothing)
        return loss, {"accuracy": (logits.argmax(1) == batch["label"]).float().mean()}

    def validation(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        _, logits = self.network(batch["x"])
        accuracy = (logits.argmax(1) == batch["label"]).float().mean()
        return {"loss": F.cross_entropy(logits.float(), batch["label"]), "accuracy": accuracy}

    def graphs(self) -> list[GraphExport]:
        return [
            GraphExport(
                capability=Capability.ENCODE,
                module=self.network,
                example={"x": torch.rand(2, *self.network.body.shape)},
                outputs=("embedding", "logits"),
                dynamic_shapes={"x": {0: "batch"}},
                inputs=lambda batch: {"x": batch["x"]},
                tolerance=1e-4,
            )
        ]


FAMILY = Classifier
