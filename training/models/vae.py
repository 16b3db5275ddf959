"""Variational autoencoder of grey images (Kingma & Welling 2014, arXiv 1312.6114).

z ~ N(0, I) in R^Z;  q(z|x) = N(mu(x), diag sigma(x)^2);  p(k|z), independent pixels of 256 grey levels, each a categorical
distribution of bins with shares (training/layers/grey_spline.py). Training maximises the evidence lower bound

    ELBO = E_q log p(k|z) - KL(q(z|x) || N(0, I)),   z = mu + sigma eps,   KL = 1/2 sum_j (mu_j^2 + sigma_j^2 - 1 - log sigma_j^2)

with the KL weighted by beta (Higgins et al. 2017, beta-VAE), and of each dimension counted as `free_bits` where its mean
over the batch is below (Kingma et al. 2016, arXiv 1606.04934, section C.8). `log_density` is the importance-weighted bound
of K samples (Burda et al. 2016, arXiv 1509.00519, eq. 8), whose noise is fixed in the graph. As a distribution of grey
levels k it is at once a density of the uniformly dequantised k + u: log p is per grey level, over [0, 256)^D.
"""

import copy
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contract import Capability
from training.family import Batch, DataSummary, Family, Frozen, GraphExport, OptimizerConfig
from training.layers.grey_spline import BINS, LEVELS, GreySpline
from training.layers.importance import fixed_normals, importance_weighted_bound, log_weights
from training.layers.pyramid import Contraction, Expansion, coarsest
from training.muon import muon_and_adamw


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Of each dimension of N(mean, exp(log_variance)), in nats: (B, Z) -> (B, Z)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


class Network(nn.Module):
    """Grey levels k (B, C, H, W) -> q's mean and log-variance (B, Z) each;  z (B, Z) -> raw (B, C, H, W, bins)."""

    def __init__(self, shape: tuple[int, int, int], latent: int, widths: tuple[int, ...], blocks: int):
        super().__init__()
        sides = coarsest(shape, widths)
        self.shape = shape
        self.contraction = Contraction(shape[0], widths, blocks)
        self.to_posterior = nn.Conv2d(widths[-1], 2 * latent, sides)  # over the whole map
        self.from_latent = nn.ConvTranspose2d(latent, widths[-1], sides)
        self.expansion = Expansion(shape[0] * BINS, widths, blocks)
        self.spline = GreySpline()

    def posterior(self, k: Tensor) -> tuple[Tensor, Tensor]:
        h = self.contraction(k / (LEVELS - 1))[-1]
        mean, log_variance = self.to_posterior(F.relu(h)).float().flatten(1).chunk(2, dim=1)
        return mean, log_variance

    def raw(self, z: Tensor) -> Tensor:
        h = self.expansion(self.from_latent(z[:, :, None, None]))
        return h.float().unflatten(1, (self.shape[0], BINS)).movedim(2, -1)

    def log_likelihood(self, k: Tensor, z: Tensor) -> Tensor:
        """log p(k|z) in nats of every pixel, (B, C, H, W)."""
        return self.spline.log_prob(k, self.raw(z))

    def mean_image(self, z: Tensor) -> Tensor:
        return self.spline.mean(self.raw(z)) / (LEVELS - 1)


class Graph(nn.Module):
    """x = k/255 -> a function of the grey levels; values between two levels count as the nearer one."""

    def __init__(self, network: Network):
        super().__init__()
        self.network = network


class Encode(Graph):
    """The `encode` graph: x -> the posterior's mean (B, Z)."""

    def forward(self, x: Tensor) -> Tensor:
        return self.network.posterior(_levels(x))[0]


class Decode(Graph):
    """The `decode` graph: z (B, Z) -> the mean image in [0, 1], (B, C, H, W)."""

    def forward(self, z: Tensor) -> Tensor:
        return self.network.mean_image(z)


class Reconstruct(Graph):
    """The `reconstruct` graph: x -> the mean image at the posterior's mean."""

    def forward(self, x: Tensor) -> Tensor:
        return self.network.mean_image(self.network.posterior(_levels(x))[0])


class LogDensity(Graph):
    """The `log_density` graph: x -> the bound of K samples (B,); its noise eps is the same for every image.

    Sums are in float64, for the last bits of a float32 sum depend on the number of rows.
    """

    eps: Tensor

    def __init__(self, network: Network, eps: Tensor):
        super().__init__(network)
        self.register_buffer("eps", eps)

    def forward(self, x: Tensor) -> Tensor:
        k = _levels(x)
        mean, log_variance = self.network.posterior(k)
        z = mean[:, None] + (0.5 * log_variance).exp()[:, None] * self.eps  # (B, K, Z)
        samples = len(self.eps)
        repeated = k[:, None].expand(-1, samples, -1, -1, -1).flatten(0, 1)  # (B K, C, H, W)
        of_pixels = self.network.log_likelihood(repeated, z.flatten(0, 1)).flatten(1)
        log_likelihood = of_pixels.double().sum(1).unflatten(0, (-1, samples))  # (B, K)
        log_weight = log_weights(log_likelihood, z.double(), self.eps.double(), log_variance.double()[:, None])
        return importance_weighted_bound(log_weight).float()


def _levels(x: Tensor) -> Tensor:
    return (x * (LEVELS - 1) + 0.5).floor().clamp(0, LEVELS - 1)


class VAE(Family):
    """Encodes, decodes, and bounds the density of images from below."""

    class Config(Frozen):
        """`free_bits` are nats per dimension of z, `samples` the K of the exported bound."""

        latent: int = 24
        widths: tuple[int, ...] = (16, 32, 64)
        blocks: int = 1
        beta: float = 1.0
        free_bits: float = 0.0
        samples: int = 16

    def __init__(self, config: Config, data: DataSummary):
        super().__init__(config, data)
        shape: Any = data.shape
        self.network = Network(shape, config.latent, config.widths, config.blocks)

    def optimizers(self, player: str, settings: OptimizerConfig) -> list[torch.optim.Optimizer]:
        return muon_and_adamw(self.parameters(), settings)

    def parts(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """-log p(k|z) of one z ~ q(z|x), (B,), and the KL of each dimension, (B, Z), in nats."""
        k = _levels(x)
        mean, log_variance = self.network.posterior(k)
        eps = torch.randn(mean.shape, generator=generator, device=x.device)
        z = mean + (0.5 * log_variance).exp() * eps
        return -self.network.log_likelihood(k, z).flatten(1).sum(1), kl_to_standard_normal(mean, log_variance)

    def loss(self, player: str, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """In bits per dimension."""
        distortion, kl = self.parts(batch["x"], generator)
        rate = kl.mean(0).clamp(min=self.config.free_bits).sum()
        unit = batch["x"][0].numel() * math.log(2)
        logs = {"bits_per_dim": (distortion.mean() + kl.sum(1).mean()) / unit, "kl": kl.sum(1).mean()}
        return (distortion.mean() + self.config.beta * rate) / unit, logs

    def validation(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """`loss` is -ELBO in bits per dimension, whatever beta; `kl` is in nats."""
        distortion, kl = self.parts(batch["x"], generator)
        unit = batch["x"][0].numel() * math.log(2)
        return {"loss": (distortion + kl.sum(1)).mean() / unit, "kl": kl.sum(1).mean()}

    def graphs(self) -> list[GraphExport]:
        network = copy.deepcopy(self.network)
        network.spline.fused()
        x = torch.randint(LEVELS, (2, *network.shape)) / (LEVELS - 1)
        z, free = torch.randn(2, self.config.latent), {0: "batch"}
        density = LogDensity(network, fixed_normals(self.config.samples, self.config.latent))

        def images(batch: Batch) -> Batch:
            return {"x": batch["x"]}

        def latents(batch: Batch) -> Batch:
            return {"z": torch.randn(len(batch["x"]), self.config.latent, generator=torch.Generator().manual_seed(0))}

        return [
            GraphExport(Capability.ENCODE, Encode(network), {"x": x}, ("embedding",), {"x": free}, images, 1e-3),
            GraphExport(Capability.DECODE, Decode(network), {"z": z}, ("x",), {"z": free}, latents, 1e-4),
            GraphExport(Capability.RECONSTRUCT, Reconstruct(network), {"x": x}, ("x_hat",), {"x": free}, images, 1e-4),
            GraphExport(
                Capability.LOG_DENSITY, density, {"x": x}, ("log_prob",), {"x": free}, images, 1e-3, density="bound"
            ),
        ]

    def manifest_parts(self) -> dict[str, Any]:
        return {"latent": {"size": self.config.latent, "prior": "normal"}}


FAMILY = VAE
