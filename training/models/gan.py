"""Generative adversarial network, class-conditional, in R3GAN's recipe (Huang et al. 2024, arXiv 2501.05441).

z (B, Z), label (B,) -> G(z, label) = x (B, C, H, W) in [0, 1];  D(x, label) -> (B,), the embedding of the label times the
image's features (projection: Miyato & Koyama 2018, arXiv 1802.05637). Data without classes have no label in the graphs.
There is no normalisation layer (training/layers/fixup_gan.py): gradient penalties keep the discriminator smooth. `loss`
chooses the game, with d = D(x) - D(G(z)):

| loss         | discriminator minimises                                 | generator minimises | penalty                |
|--------------|---------------------------------------------------------|---------------------|------------------------|
| relativistic | softplus(-d)                                            | softplus(d)         | R1 + R2                |
| minimax      | softplus(-D(x)) + softplus(D(G(z)))                     | softplus(-D(G(z)))  | R1 (Mescheder 2018)    |
| wasserstein  | -d                                                      | -D(G(z))            | (|grad D| - 1)^2, WGAN-GP |

R1 = gamma/2 |grad_x D(x)|^2 on real images, R2 the same on generated ones. A penalty is worked out on every
`penalty_interval`-th batch and weighted by it (lazy regularisation, Karras et al. 2020, arXiv 1912.04958).
"""

from collections.abc import Iterable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contract import Capability
from training.family import Batch, DataSummary, Family, Frozen, GraphExport
from training.layers.fixup_gan import Authenticity, Discriminator, Generator


class GAN(Family):
    """Generator and discriminator; two players, each with its optimiser."""

    players = ("discriminator", "generator")
    batches: Tensor

    class Config(Frozen):
        """`gamma` weighs the gradient penalty of every loss; Wasserstein's own choice is 20 (lambda = gamma/2 = 10)."""

        loss: Literal["relativistic", "minimax", "wasserstein"] = "relativistic"
        latent: int = 64
        generator_widths: tuple[int, int, int] = (128, 64, 32)
        discriminator_widths: tuple[int, int] = (64, 128)
        features: int = 128
        blocks: int = 1
        gamma: float = 1.0
        penalty_interval: int = 4

    def __init__(self, config: Config, data: DataSummary):
        super().__init__(config, data)
        shape = tuple(side or 0 for side in data.shape)
        if len(shape) != 3 or not shape[1] or not shape[2] or shape[1] % 4 or shape[2] % 4:
            raise ValueError(f"data.shape: expected (C, H, W) with sides in multiples of 4, found {data.shape}")
        self.generator = Generator(shape, config.latent, data.classes, config.generator_widths, config.blocks)
        self.discriminator = Discriminator(
            shape, data.classes, config.discriminator_widths, config.features, config.blocks
        )
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))

    def parameters_of(self, player: str) -> Iterable[nn.Parameter]:
        return (self.generator if player == "generator" else self.discriminator).parameters()

    def loss(self, player: str, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        x, label = batch["x"], self._labels(batch)
        z = torch.randn(len(x), self.config.latent, generator=generator, device=x.device)
        return self._generator_loss(x, z, label) if player == "generator" else self._discriminator_loss(x, z, label)

    def _labels(self, batch: Batch) -> Tensor:
        return batch["label"] if self.data.classes else batch["x"].new_zeros(len(batch["x"]), dtype=torch.long)

    def _generator_loss(self, x: Tensor, z: Tensor, label: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        fake = self.discriminator(self.generator(z, label), label)
        if self.config.loss == "relativistic":
            with torch.no_grad():
                real = self.discriminator(x, label)
            return F.softplus(real - fake).mean(), {}
        return (-fake if self.config.loss == "wasserstein" else F.softplus(-fake)).mean(), {}

    def _discriminator_loss(self, x: Tensor, z: Tensor, label: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.no_grad():
            fake_x = self.generator(z, label).to(x.dtype)
        penalised = int(self.batches) % self.config.penalty_interval == 0
        self.batches += 1
        both = torch.cat([x, fake_x]).requires_grad_(penalised)
        scores = self.discriminator(both, label.repeat(2))
        real, fake = scores.chunk(2)
        game = {
            "relativistic": lambda: F.softplus(fake - real),
            "minimax": lambda: F.softplus(-real) + F.softplus(fake),
            "wasserstein": lambda: fake - real,
        }[self.config.loss]().mean()
        logs = {"real_minus_fake": (real - fake).mean().detach()}
        if not penalised:
            return game, logs
        penalty = self._penalty(both, scores, label)
        logs["penalty"] = penalty.detach()
        return game + self.config.gamma / 2 * self.config.penalty_interval * penalty, logs

    def _penalty(self, both: Tensor, scores: Tensor, label: Tensor) -> Tensor:
        """The squared gradient norm that the loss asks for, summed over its kinds, averaged over the batch."""
        if self.config.loss == "wasserstein":
            real_x, fake_x = both.detach().chunk(2)
            mix = torch.linspace(0, 1, len(label), device=label.device)[:, None, None, None]
            between = (real_x + mix * (fake_x - real_x)).requires_grad_()
            (gradient,) = torch.autograd.grad(self.discriminator(between, label).sum(), between, create_graph=True)
            return (gradient.flatten(1).square().sum(1).add(1e-12).sqrt() - 1).square().mean()
        (gradient,) = torch.autograd.grad(scores.sum(), both, create_graph=True)
        r1, r2 = gradient.float().flatten(1).square().sum(1).chunk(2)
        return r1.mean() if self.config.loss == "minimax" else (r1 + r2).mean()

    def graphs(self) -> list[GraphExport]:
        latents = {"z": torch.randn(2, self.config.latent)}
        if self.data.classes:
            latents["label"] = torch.arange(2) % self.data.classes
        return [
            GraphExport(
                capability=Capability.DECODE,
                module=self.generator,
                example=latents,
                outputs=("x",),
                dynamic_shapes={name: {0: "batch"} for name in latents},
                inputs=self._latents,
                tolerance=1e-4,
            ),
            GraphExport(
                capability=Capability.LOG_DENSITY,
                module=Authenticity(self.discriminator),
                example={"x": torch.rand(2, *self.data.shape)},
                outputs=("log_prob",),
                dynamic_shapes={"x": {0: "batch"}},
                inputs=lambda batch: {"x": batch["x"]},
                tolerance=1e-3,
                density="critic",
            ),
        ]

    def _latents(self, batch: Batch) -> dict[str, Tensor]:
        z = torch.randn(len(batch["x"]), self.config.latent, generator=torch.Generator().manual_seed(0))
        return {"z": z, "label": batch["label"]} if self.data.classes else {"z": z}

    def manifest_parts(self) -> dict[str, Any]:
        return {"latent": {"size": self.config.latent, "prior": "normal"}}


FAMILY = GAN
