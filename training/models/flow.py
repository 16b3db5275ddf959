"""Normalizing flow for grey images: spline couplings from coarse to fine, with an exact density.

A chain of couplings x -> z in R^D, each a monotone spline (training/layers/grey_spline.py) of some pixels, given others
that it leaves alone (coupling: Dinh et al. 2017, arXiv 1605.08803; splines: Durkan et al. 2019, arXiv 1906.04032). What
is given are the pixels of coarser lattices (training/layers/coarse_to_fine.py), as in the parallel multi-scale PixelCNN
(Reed et al. 2017, arXiv 1703.03664): the Jacobian is triangular, and log p(x) is the sum of one number per pixel.
Density takes one pass; sampling takes 19 small steps over the coarsest lattice and 6 convolutional ones.

Grey levels k/255 become k + 0.5 in the graphs. log p is per grey level, over [0, 256)^D, as in the literature: bits/dim
= -log p / (D ln 2). Within a grey level the density is flat, for the networks see levels: the dequantised picture k + u, u
uniform, scores as k does, whose probability the density is.
"""

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from contract import Capability
from training.family import Batch, DataSummary, Family, Frozen, GraphExport
from training.layers.coarse_to_fine import CoarseToFine
from training.layers.grey_spline import LEVELS

HALF_LEVEL = 0.5 / (LEVELS - 1)


class LogDensity(nn.Module):
    """The `log_density` graph: x = k/255, (B, 1, H, W) -> log_prob (B,) and its map, at the centre of the grey level.

    The sums are matrix products, which round alike in any batch where reductions do not: over each row of pixels, then
    over the rows, for summing all 784 in turn is off by up to 5e-4 nats, and this by 2e-4.
    """

    def __init__(self, flow: CoarseToFine):
        super().__init__()
        self.flow = flow

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_prob_map = self.flow.log_prob_map(_grey(x))
        height, width = log_prob_map.shape[2:]
        of_rows = (log_prob_map @ torch.ones(width, 1, dtype=x.dtype)).flatten(1)  # (B, H)
        return (of_rows @ torch.ones(height, 1, dtype=x.dtype)).squeeze(1), log_prob_map


class Encode(nn.Module):
    """The `encode` graph: x = k/255 -> z (B, D), at the centre of the grey level: sure pixels have z near 0."""

    def __init__(self, flow: CoarseToFine):
        super().__init__()
        self.flow = flow

    def forward(self, x: Tensor) -> Tensor:
        return self.flow(_grey(x)).flatten(1)


class Decode(nn.Module):
    """The `decode` graph: z (B, D) -> x (B, 1, H, W) in [0, 1]; rounding to k/255 gives the grey levels."""

    def __init__(self, flow: CoarseToFine, shape: tuple[int, int, int]):
        super().__init__()
        self.flow, self.shape = flow, shape

    def forward(self, z: Tensor) -> Tensor:
        return ((self.flow.inverse(z.unflatten(1, self.shape)) - 0.5) / (LEVELS - 1)).clamp(0.0, 1.0)


def _grey(x: Tensor) -> Tensor:
    return (x * (LEVELS - 1) + 0.5).clamp(0.0, LEVELS - 1e-3)


class Flow(Family):
    """Exact density, samples and embeddings of grey images."""

    class Config(Frozen):
        """`widths` and `depth` are of the doublings' trunks, from fine to coarse; `coarse_width` is of the MADE."""

        widths: tuple[int, ...] = (48, 64)
        depth: int = 2
        coarse_width: int = 256

    def __init__(self, config: Config, data: DataSummary):
        super().__init__(config, data)
        channels, height, width = data.shape
        multiple = 2 ** len(config.widths)
        if channels != 1 or height is None or width is None or height % multiple or width % multiple:
            raise ValueError(
                f"data.shape: expected one grey channel and sides in multiples of {multiple}, found {data.shape}"
            )
        self.flow = CoarseToFine((height, width), config.widths, config.depth, config.coarse_width)

    def bits_per_dim(self, x: Tensor) -> Tensor:
        """Of images x = k/255, (B,), exact."""
        return -self.flow.log_prob_map(_grey(x)).flatten(1).mean(1) / math.log(2)

    def loss(self, player: str, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        loss = self.bits_per_dim(batch["x"]).mean()
        return loss, {"bits_per_dim": loss.detach()}

    def validation(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        return {"loss": self.bits_per_dim(batch["x"]).mean()}

    def graphs(self) -> list[GraphExport]:
        flow = copy.deepcopy(self.flow).fused()
        x = torch.randint(LEVELS, (2, *self.data.shape)) / (LEVELS - 1)
        z = torch.randn(2, math.prod(self.data.shape))
        x_axes, z_axes = {"x": {0: "batch"}}, {"z": {0: "batch"}}

        def images(batch: Batch) -> dict[str, Tensor]:
            return {"x": batch["x"]}

        def any_images(batch: Batch) -> dict[str, Tensor]:
            """Every other one is noise: bits that depend on the batch may show in strange pictures only."""
            noise = torch.randint(LEVELS, batch["x"].shape, generator=torch.Generator().manual_seed(0)) / (LEVELS - 1)
            strange = torch.cat([noise[: len(noise) // 2], noise[len(noise) // 2 :].round()])
            odd = (torch.arange(len(noise)) % 2).bool().view(-1, 1, 1, 1)
            return {"x": torch.where(odd, strange, batch["x"])}

        def latents(batch: Batch) -> dict[str, Tensor]:
            return {"z": torch.randn(len(batch["x"]), z.shape[1], generator=torch.Generator().manual_seed(0))}

        return [
            GraphExport(
                capability=Capability.LOG_DENSITY,
                module=LogDensity(flow),
                example={"x": x},
                outputs=("log_prob", "log_prob_map"),
                dynamic_shapes=x_axes,
                inputs=images,
                tolerance=1e-3,
                density="exact",
                rows=any_images,
            ),
            GraphExport(
                Capability.ENCODE, Encode(flow), {"x": x}, ("embedding",), x_axes, images, 1e-3, rows=any_images
            ),
            GraphExport(
                Capability.DECODE, Decode(flow, self.data.shape), {"z": z}, ("x",), z_axes, latents, HALF_LEVEL
            ),
        ]

    def manifest_parts(self) -> dict[str, Any]:
        return {"latent": {"size": math.prod(self.data.shape), "prior": "normal"}, "sampling": {"temperature": 1.0}}


FAMILY = Flow
