"""Another model's embedding as data: images become rows for training, and one graph x -> log_prob for export.

    x (B, C, H, W) --encode.onnx of an exported model--> embedding (B, D) --the family's own graph--> log_prob (B,)

What is a density of embeddings is none of images, over which it does not integrate to one: it is exported as an energy.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from contract import Capability, ManifestError, read_manifest
from training.data.source import DataError, in_order
from training.family import Batch, DataSummary, GraphExport, Source
from training.graphs import open_session, opset, sha256

BATCH_SIZE = 100
TOLERANCE = 1e-3  # of what is worked out of an image's hundreds of values


class Encoder:
    """The `encode` graph of an exported model, run by ONNX Runtime: x (B, C, H, W) -> embedding (B, D)."""

    def __init__(self, model: Path, images: DataSummary):
        """Raises DataError where there is no such model, or none that encodes these images."""
        try:
            manifest = read_manifest(model)
        except ManifestError as error:
            raise DataError(f"data.encoder: {model}: {error}; export that model first, or give --exported") from error
        found = f"{manifest.data.kind} {list(manifest.data.shape)}"
        if images.kind != "image" or found != f"image {list(images.shape)}":
            expected = f"{images.kind} {list(images.shape)}"
            raise DataError(f"data.encoder: expected a model of {expected}, found that {model} is one of {found}")
        if Capability.ENCODE not in manifest.capabilities:
            raise DataError(f"data.encoder: {model} has no encode graph; choose a model that has")
        graph = manifest.capabilities[Capability.ENCODE]
        self.path, self.sha256 = model / graph.file, graph.sha256
        if sha256(self.path) != self.sha256:
            raise DataError(f"data.encoder: {self.path} is not the file of its manifest; export that model again")
        self._session = open_session(self.path)
        self.size = self(torch.zeros(1, *(side or 1 for side in images.shape))).shape[1]

    def __call__(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self._session.run(["embedding"], {"x": x.numpy()})[0])

    def before(self, graph: GraphExport) -> GraphExport:
        """A graph of embeddings x as one of images x."""
        return replace(
            graph,
            encoder=self.path,
            opset=opset(self.path),
            inputs=lambda batch: {"x": batch["x"]},
            rows=None,
            tolerance=max(graph.tolerance, TOLERANCE),
            reference=_OfImages(self, graph.reference or graph.module),
            density=graph.density and "energy",
        )


class _OfImages(nn.Module):
    """What a composed graph is compared with: torch's module on the encoder's embedding."""

    def __init__(self, encoder: Encoder, module: nn.Module):
        super().__init__()
        self.encoder, self.module = encoder, module

    def forward(self, x: Tensor) -> Tensor:
        return self.module(self.encoder(x))


@dataclass(frozen=True)
class Embedded:
    """Images as their embeddings, all computed when the first is asked for; batches hold `x` (B, D)."""

    images: Source
    encoder: Encoder

    def __len__(self) -> int:
        return len(self.images)

    def at(self, indices: Tensor, generator: torch.Generator | None = None) -> Batch:
        return {"x": self.rows[indices]}

    @cached_property
    def rows(self) -> Tensor:
        return torch.cat([self.encoder(self.images.at(part)["x"]) for part in in_order(self.images, BATCH_SIZE)])
