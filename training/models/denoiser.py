"""Denoising network: a light residual U-Net that removes Gaussian noise from grey images of any size, blind or not.

y = x + sigma n  ->  x_hat = y - r(y, level). All convolutions are free of bias and all activations are ReLU, so that r is
homogeneous, r(a y, a level) = a r(y, level), and the network works at noise levels beside those it was trained on
(Mohan et al. 2020, arXiv 1906.05478). The level is an input channel; a level of 0 stands for 'unknown' and is what the
network sees in half of its training, so that one network is both FFDNet (Zhang et al. 2018, arXiv 1710.04026: level map,
pixel unshuffling) and a blind denoiser. The U-Net is DRUNet's (Zhang et al. 2021, arXiv 2008.13751), made small.
"""

from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contract import Capability
from training.family import Batch, DataSummary, Family, Frozen, GraphExport, OptimizerConfig
from training.muon import Muon


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=(kernel - 1) // 2, bias=False)


class ResidualBlock(nn.Module):
    """h + conv(relu(conv(h))), the identity at the start of training."""

    def __init__(self, width: int):
        super().__init__()
        self.first, self.second = _conv(width, width), _conv(width, width)
        nn.init.zeros_(self.second.weight)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.second(F.relu(self.first(h)))


def _blocks(width: int, number: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(width) for _ in range(number)))


class ResidualUNet(nn.Module):
    """The noise in y: (B, C, H, W) and levels (B,) -> (B, C, H, W); H and W are multiples of `multiple`."""

    def __init__(self, channels: int, widths: tuple[int, ...], blocks: int, middle_blocks: int):
        super().__init__()
        self.multiple = 2 ** len(widths)
        steps = list(pairwise(widths))
        self.stem = _conv(4 * channels + 1, widths[0])
        self.encoder = nn.ModuleList(_blocks(width, blocks) for width in widths[:-1])
        self.down = nn.ModuleList(_conv(fine, coarse, kernel=2, stride=2) for fine, coarse in steps)
        self.middle = _blocks(widths[-1], middle_blocks)
        self.up = nn.ModuleList(_conv(coarse, 4 * fine, kernel=1) for fine, coarse in steps)
        self.decoder = nn.ModuleList(_blocks(width, blocks) for width in widths[:-1])
        self.head = _conv(widths[0], 4 * channels)

    def forward(self, y: Tensor, level: Tensor) -> Tensor:
        h = F.pixel_unshuffle(y, 2)  # (B, 4C, H/2, W/2)
        level_map = torch.zeros_like(h[:, :1]) + level[:, None, None, None]
        h = self.stem(torch.cat([h, level_map], dim=1))
        skips = []
        for encoder, down in zip(self.encoder, self.down, strict=True):
            h = encoder(h)
            skips.append(h)
            h = down(h)
        h = self.middle(h)
        for decoder, up in reversed(list(zip(self.decoder, self.up, strict=True))):
            h = decoder(F.pixel_shuffle(up(h), 2) + skips.pop())
        return F.pixel_shuffle(self.head(h), 2)  # (B, C, H, W)


class Reconstruct(nn.Module):
    """The `reconstruct` graph: any H and W, negative sigma for an unknown level, a clean image in [0, 1]."""

    def __init__(self, network: ResidualUNet):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        multiple = self.network.multiple
        y = F.pad(x, (0, -width % multiple, 0, -height % multiple), mode="replicate")
        residual = self.network(y, sigma.clamp(min=0))[..., :height, :width]
        noisy = (sigma != 0).to(x.dtype)[:, None, None, None]  # nothing to remove at a level known to be 0
        return (x - noisy * residual).clamp(0, 1)


class Denoiser(Family):
    """Denoises images of any size at the levels [0, max_sigma]."""

    class Config(Frozen):
        """`level_dropout` is how often the level is withheld in training.

        `objective` "psnr" is the mean of 10 log10 of each image's squared error (the metric itself, up to a constant);
        `error_floor` keeps its gradient finite where nearly nothing is left to remove.
        """

        widths: tuple[int, ...] = (32, 64, 128)
        blocks: int = 2
        middle_blocks: int = 4
        max_sigma: float = 55 / 255
        level_dropout: float = 0.5
        objective: Literal["psnr", "l1", "l2"] = "psnr"
        error_floor: float = 1e-5
        validation_sigmas: tuple[float, ...] = (15 / 255, 25 / 255, 50 / 255)

    def __init__(self, config: Config, data: DataSummary):
        super().__init__(config, data)
        self.channels = data.shape[0] or 1
        self.network = ResidualUNet(self.channels, config.widths, config.blocks, config.middle_blocks)

    def optimizers(self, player: str, settings: OptimizerConfig) -> list[torch.optim.Optimizer]:
        """Muon: every parameter is a kernel."""
        return [Muon(self.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)]

    def loss(self, player: str, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        x = batch["x"]
        draws = torch.rand(2, len(x), generator=generator, device=x.device)
        sigma = draws[0] * self.config.max_sigma
        level = torch.where(draws[1] < self.config.level_dropout, 0.0, sigma)
        y = x + sigma[:, None, None, None] * torch.randn(x.shape, generator=generator, device=x.device)
        error = (y - self.network(y, level)).float() - x
        squared = error.square().flatten(1).mean(1)  # (B,)
        loss = {
            "psnr": lambda: 10 * torch.log10(squared + self.config.error_floor).mean(),
            "l1": lambda: error.abs().mean(),
            "l2": lambda: squared.mean(),
        }[self.config.objective]()
        return loss, {"mse": squared.mean().detach()}

    def validation(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        x, graph = batch["x"], Reconstruct(self.network)
        unknown = torch.full((len(x),), -1.0, device=x.device)
        psnr = {}
        for sigma in self.config.validation_sigmas:
            y = x + sigma * torch.randn(x.shape, generator=generator, device=x.device)
            squared = (graph(y, unknown) - x).square().flatten(1).mean(1)
            psnr[f"psnr_{sigma * 255:.0f}"] = (-10 * torch.log10(squared)).mean()
        return {"loss": -torch.stack(list(psnr.values())).mean(), **psnr}

    def graphs(self) -> list[GraphExport]:
        side = 5 * self.network.multiple + 1  # not a multiple, so that the padding is traced
        return [
            GraphExport(
                capability=Capability.RECONSTRUCT,
                module=Reconstruct(self.network),
                example={"x": torch.rand(2, self.channels, side, side + 2), "sigma": torch.tensor([-1.0, 0.1])},
                outputs=("x_hat",),
                dynamic_shapes={"x": {0: "batch", 2: "height", 3: "width"}, "sigma": {0: "batch"}},
                inputs=self._graph_inputs,
                tolerance=1e-4,
            )
        ]

    def _graph_inputs(self, batch: Batch) -> dict[str, Tensor]:
        x = batch["x"]
        sigma = torch.linspace(0, self.config.max_sigma, len(x))
        y = x + sigma[:, None, None, None] * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
        return {"x": y, "sigma": torch.where(torch.arange(len(x)) % 2 == 0, -1.0, sigma)}

    def manifest_parts(self) -> dict[str, Any]:
        return {
            "shape": (self.channels, None, None),
            "sigma_range": (0.0, self.config.max_sigma),
            "restoration": {"degradation": "noise"},
        }


FAMILY = Denoiser
