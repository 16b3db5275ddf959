"""Convolutional autoencoder, x (B, C, H, W) -> code (B, Z) -> x_hat, also trained to restore what was spoilt.

Without a degradation the codes of real images are, after training, taken for Gaussian (ex-post density estimation, Ghosh
et al. 2020, From Variational to Deterministic Autoencoders, arXiv 1903.12436, section 4), with mean m and covariance
L L^T. The graphs whiten: `encode` gives z = L^-1 (code - m), and `decode` takes z ~ N(0, I). Training penalises large
codes, the paper's RAE-L2; weight decay, the optimiser's, is its penalty of the decoder.

With a degradation it is a U-Net (training/layers/restorer.py): noise of a known or unknown level, mask (inpainting),
downscale (super-resolution) or grey (colourisation). Its skips go past the code, so that `encode` is not exported.
"""

from collections.abc import Iterable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import field_validator
from torch import Tensor, nn

from contract import Capability
from contract.manifest import Restoration
from training.degradation import degraded
from training.family import Batch, DataSummary, Family, Frozen, GraphExport, OptimizerConfig
from training.layers.gaussian_codes import GaussianCodes
from training.layers.pyramid import Contraction, Expansion, coarsest
from training.layers.restorer import FILL_MARGIN, Restorer
from training.muon import muon_and_adamw


class Autoencoder(nn.Module):
    """x (B, C, H, W) in [0, 1] <-> code (B, Z); `encode` and `decode` whiten once `fit` has seen codes."""

    def __init__(self, shape: tuple[int, ...], latent: int, widths: tuple[int, ...], blocks: int):
        super().__init__()
        sides = coarsest(shape, widths)
        self.contraction = Contraction(shape[0], widths, blocks)
        self.expansion = Expansion(shape[0], widths, blocks)
        self.to_code = nn.Conv2d(widths[-1], latent, sides)  # over the whole map
        self.from_code = nn.ConvTranspose2d(latent, widths[-1], sides)
        self.prior = GaussianCodes(latent)

    def code(self, x: Tensor) -> Tensor:
        return self.to_code(F.relu(self.contraction(x)[-1])).flatten(1)  # (B, Z)

    def of_code(self, code: Tensor) -> Tensor:
        return self.expansion(self.from_code(code[:, :, None, None]))

    def encode(self, x: Tensor) -> Tensor:
        return self.prior.whiten(self.code(x))

    def decode(self, z: Tensor) -> Tensor:
        return self.of_code(self.prior.colour(z)).clamp(0, 1)


class Encode(nn.Module):
    """The `encode` graph: x -> z (B, Z)."""

    def __init__(self, network: Autoencoder):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network.encode(x)


class Decode(Encode):
    """The `decode` graph: z (B, Z) -> x in [0, 1]."""

    def forward(self, z: Tensor) -> Tensor:
        return self.network.decode(z)


class Reconstruct(Encode):
    """The `reconstruct` graph of an autoencoder: x -> x_hat in [0, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        return self.network.of_code(self.network.code(x)).clamp(0, 1)


class ConvolutionalAutoencoder(Family):
    """Encodes and decodes images, or restores them."""

    class Config(Frozen):
        """`latent` and `latent_penalty` are for degradation none, `sigma_range` for noise, in units of x.

        `level_dropout` is how often the noise level is withheld in training. `fill` must be no grey level.
        """

        degradation: Literal["none", "noise", "mask", "downscale", "grey"] = "none"
        widths: tuple[int, ...] = (16, 32, 64)
        blocks: int = 1
        objective: Literal["l2", "l1"] = "l2"
        latent: int = 32
        latent_penalty: float = 1e-4
        sigma_range: tuple[float, float] = (0.0, 1.0)
        level_dropout: float = 0.5
        factor: Literal[2, 4] = 2
        fill: float = -1.0

        @field_validator("fill")
        @classmethod
        def _no_grey_level(cls, fill: float) -> float:
            if -FILL_MARGIN < fill < 1 + FILL_MARGIN:
                raise ValueError(
                    f"expected a value at least {FILL_MARGIN} outside of [0, 1], so that it marks the holes"
                )
            return fill

    def __init__(self, config: Config, data: DataSummary):
        super().__init__(config, data)
        self.restoration = self._restoration()
        shape: Any = data.shape
        self.network: Any = (
            Autoencoder(shape, config.latent, config.widths, config.blocks)
            if self.restoration is None
            else Restorer(shape, self.restoration, config.widths, config.blocks)
        )

    def _restoration(self) -> Restoration | None:
        config, shape = self.config, self.data.shape
        if config.degradation == "none":
            return None
        if config.degradation == "grey" and shape[:1] != (3,):
            raise ValueError(f"model.degradation: grey needs images of three channels, found data.shape {shape}")
        if config.degradation == "downscale" and any((side or 1) % config.factor for side in shape[1:]):
            raise ValueError(
                f"model.factor: expected a divisor of the sides of data.shape {shape}, found {config.factor}"
            )
        return Restoration(
            degradation=config.degradation,
            factor=config.factor if config.degradation == "downscale" else None,
            fill=config.fill if config.degradation == "mask" else None,
        )

    def optimizers(self, player: str, settings: OptimizerConfig) -> list[torch.optim.Optimizer]:
        return muon_and_adamw(self.parameters(), settings)

    def loss(self, player: str, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        x = batch["x"]
        if self.restoration is None:
            code = self.network.code(x)
            error = self.network.of_code(code).float() - x
            penalty = self.config.latent_penalty * code.float().square().mean()
        else:
            given = self._degraded(x, generator)
            if "sigma" in given:
                withheld = torch.rand(len(x), generator=generator, device=x.device) < self.config.level_dropout
                given["sigma"] = torch.where(withheld, -1.0, given["sigma"])
            error = self.network.estimate(**given).float() - x
            if self.restoration.degradation == "mask":
                error = error * self.network.hidden(given["x"])
            penalty = error.new_zeros(())
        squared = error.square().mean()
        return (squared if self.config.objective == "l2" else error.abs().mean()) + penalty, {"mse": squared.detach()}

    def _degraded(self, x: Tensor, generator: torch.Generator) -> Batch:
        return degraded(x, self.restoration, self.config.sigma_range, generator)

    def validation(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """The mean squared error of x_hat, of noise with the level withheld."""
        x = batch["x"]
        if self.restoration is None:
            x_hat = Reconstruct(self.network)(x)
        else:
            given = self._degraded(x, generator)
            x_hat = self.network(given["x"], -torch.ones_like(given["sigma"]) if "sigma" in given else None)
        return {"loss": (x_hat - x).square().mean()}

    @torch.no_grad()
    def fit(self, held_out: Iterable[Batch]) -> dict[str, float]:
        if self.restoration is not None:
            return {}
        codes = torch.cat([self.network.code(batch["x"]) for batch in held_out])  # (N, Z)
        self.network.prior.fit(codes)
        return {"codes": len(codes), "code_scale": float(self.network.prior.scale.diagonal().log().mean().exp())}

    def graphs(self) -> list[GraphExport]:
        free = {0: "batch"}

        def spoilt(batch: Batch) -> Batch:
            given = self._degraded(batch["x"], torch.Generator().manual_seed(0))
            if "sigma" in given:
                given["sigma"][::2] = -1.0
            return given

        x = torch.rand(2, *(side or 0 for side in self.data.shape))
        if self.restoration is not None:
            given = spoilt({"x": x})
            axes = dict.fromkeys(given, free)
            return [GraphExport(Capability.RECONSTRUCT, self.network, given, ("x_hat",), axes, spoilt, tolerance=1e-4)]

        def images(batch: Batch) -> Batch:
            return {"x": batch["x"]}

        def latents(batch: Batch) -> Batch:
            return {"z": torch.randn(len(batch["x"]), self.config.latent, generator=torch.Generator().manual_seed(0))}

        network, z = self.network, torch.randn(2, self.config.latent)
        return [
            GraphExport(Capability.ENCODE, Encode(network), {"x": x}, ("embedding",), {"x": free}, images, 1e-3),
            GraphExport(Capability.DECODE, Decode(network), {"z": z}, ("x",), {"z": free}, latents, 1e-4),
            GraphExport(Capability.RECONSTRUCT, Reconstruct(network), {"x": x}, ("x_hat",), {"x": free}, images, 1e-4),
        ]

    def manifest_parts(self) -> dict[str, Any]:
        if self.restoration is None:
            return {"latent": {"size": self.config.latent, "prior": "normal"}}
        noise = self.restoration.degradation == "noise"
        return {"restoration": self.restoration} | ({"sigma_range": self.config.sigma_range} if noise else {})


FAMILY = ConvolutionalAutoencoder
