"""Restricted Boltzmann machine of binary units (Smolensky 1986), trained by persistent contrastive divergence.

v (B, V) visible and h (B, H) hidden, both in {0, 1}; with weights W (V, H) and biases b (V,), c (H,):

    E(v, h) = -b·v - c·h - v W h                F(v) = -log sum_h exp(-E(v, h)) = -b·v - sum_j softplus(c_j + (v W)_j)
    p(v) = exp(-F(v)) / Z                       the gradient of -log p is that of F(data) - E_p[F] (Hinton 2002)

E_p is taken over fantasy particles, chains of Gibbs steps that go on from batch to batch (Tieleman 2008). Data are grey
values in [0, 1], taken as probabilities and drawn anew each time. W acts on v - mean and h - 1/2, so that its gradient is
not that of the biases over again (Montavon and Müller 2012, centred Boltzmann machines).

log Z is estimated after training, by annealed importance sampling (Salakhutdinov and Murray 2008). log_prob is therefore
-F(x) minus that estimate, in nats: of binary x it is log p(x) but for the estimate's error; of grey x it is not more than
the mean of log p over binary images drawn from it, for -F is convex. An energy, not a density.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from contract import Capability
from training.family import Batch, DataSummary, Family, Frozen, GraphExport, OptimizerConfig, Source
from training.layers.boltzmann import Machine, annealed_importance, drawn

PREPARED_ROWS = 10_000


class LogDensity(nn.Module):
    """The `log_density` graph: x (B, C, H, W) in [0, 1] -> -F(x) - log Z (B,), nats."""

    def __init__(self, machine: Machine, log_partition: Tensor):
        super().__init__()
        self.machine, self.log_partition = machine, log_partition

    def forward(self, x: Tensor) -> Tensor:
        return -self.machine.free_energy(x.flatten(1)) - self.log_partition


class Gibbs(nn.Module):
    """The `decode` graph: z (B, Z) standard normal -> x (B, C, H, W), the mean of p(v | h) after K steps from a particle.

    u = Phi(z) is uniform. Its first number chooses the particle, the others decide on the units: Z = 1 + K H + (K - 1) V.
    """

    def __init__(self, machine: Machine, particles: Tensor, steps: int, shape: tuple[int, ...]):
        super().__init__()
        self.machine, self.particles, self.shape = machine, particles, shape
        visible, hidden = machine.weight.shape
        self.sizes = [1, *[hidden, visible] * (steps - 1), hidden]

    def forward(self, z: Tensor) -> Tensor:
        choice, *noise = (0.5 + 0.5 * torch.erf(z * 0.5**0.5)).split(self.sizes, dim=1)
        number = (choice.squeeze(1) * len(self.particles)).long().clamp(max=len(self.particles) - 1)
        v = self.particles[number].to(z.dtype)
        for for_hidden, for_visible in zip(noise[::2], [*noise[1::2], None], strict=True):
            h = (self.machine.hidden_logits(v).sigmoid() > for_hidden).to(z.dtype)
            mean = self.machine.visible_logits(h).sigmoid()
            v = mean if for_visible is None else (mean > for_visible).to(z.dtype)
        return v.unflatten(1, self.shape)


class RBM(Family):
    """Energy and samples of binary images."""

    base: Tensor
    particles: Tensor
    starts: Tensor
    log_partition: Tensor

    class Config(Frozen):
        """`chain_steps` Gibbs steps renew the `particles` for each batch; `gibbs_steps` are those of `decode`."""

        hidden: int = 512
        particles: int = 128
        chain_steps: int = 1
        gibbs_steps: int = 5
        annealing_chains: int = 512
        annealing_steps: int = 3000

    def __init__(self, config: Config, data: DataSummary):
        super().__init__(config, data)
        if data.kind != "image" or None in data.shape:
            raise ValueError(f"data.shape: expected images of one size, found {data.kind} {list(data.shape)}")
        visible = math.prod(side or 0 for side in data.shape)
        self.weight = nn.Parameter(0.01 * torch.randn(visible, config.hidden))
        self.b, self.c = nn.Parameter(torch.zeros(visible)), nn.Parameter(torch.zeros(config.hidden))
        self.register_buffer("base", torch.zeros(visible))
        self.register_buffer("particles", torch.zeros(config.particles, visible))
        self.register_buffer(
            "starts", torch.zeros(config.annealing_chains, visible, dtype=torch.uint8), persistent=False
        )
        self.register_buffer("log_partition", torch.zeros(()), persistent=False)

    def machine(self) -> Machine:
        """W, b and c of what the parameters say in centred terms: b comes on top of the data's log-odds."""
        b = self.base + self.b - 0.5 * self.weight.sum(1)
        return Machine(self.weight, b, self.c - self.base.sigmoid() @ self.weight)

    def prepare(self, train: Source) -> None:
        rows = torch.linspace(0, len(train) - 1, min(len(train), PREPARED_ROWS)).long()
        x = train.at(rows)["x"].flatten(1)
        mean = (x.sum(0) + 0.5) / (len(x) + 1)  # never 0 or 1
        self.base.copy_(mean.logit())
        self.particles.copy_(x[torch.arange(len(self.particles)) % len(x)].round())

    def optimizers(self, player: str, settings: OptimizerConfig) -> list[torch.optim.Optimizer]:
        return [torch.optim.SGD(self.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)]

    def loss(self, player: str, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """F(data) - F(particles): not a measure of anything, but its gradient is that of the likelihood."""
        machine = self.machine()
        data = drawn(batch["x"].flatten(1), generator)
        with torch.no_grad():
            for _ in range(self.config.chain_steps):
                h = drawn(machine.hidden_logits(self.particles).sigmoid(), generator)
                self.particles.copy_(drawn(machine.visible_logits(h).sigmoid(), generator))
        gap = machine.free_energy(data).mean() - machine.free_energy(self.particles).mean()
        return gap, {"free_energy_gap": gap.detach()}

    @torch.no_grad()
    def fit(self, held_out: Iterable[Batch]) -> dict[str, float]:
        """log Z with its standard error, and the particles that `decode` starts from: the annealed chains' ends, drawn
        anew by their weights, which makes a fair sample of them."""
        config, generator = self.config, torch.Generator().manual_seed(0)
        log_weight, ends = annealed_importance(
            self.machine().rounded(), self.base, config.annealing_chains, config.annealing_steps, generator
        )
        share = log_weight.softmax(0)
        self.log_partition.copy_(log_weight.logsumexp(0) - math.log(len(log_weight)))
        effective = 1 / share.square().sum()
        self.starts.copy_(ends[torch.multinomial(share, len(share), replacement=True, generator=generator)])
        return {
            "log_partition": self.log_partition.item(),
            "log_partition_standard_error": (1 / effective - 1 / len(share)).clamp(min=0).sqrt().item(),
            "effective_annealed_chains": effective.item(),
        }

    def graphs(self) -> list[GraphExport]:
        machine = self.machine().rounded()
        shape = tuple(side or 0 for side in self.data.shape)

        def latents(batch: Batch) -> dict[str, Tensor]:
            generator = torch.Generator().manual_seed(0)
            return {"z": torch.randn(len(batch["x"]), self._latent_size(), generator=generator)}

        return [
            GraphExport(
                capability=Capability.LOG_DENSITY,
                module=LogDensity(machine, self.log_partition),
                example={"x": torch.rand(2, *shape)},
                outputs=("log_prob",),
                dynamic_shapes={"x": {0: "batch"}},
                inputs=lambda batch: {"x": batch["x"]},
                tolerance=1e-3,
                density="energy",
            ),
            GraphExport(
                capability=Capability.DECODE,
                module=Gibbs(machine, self.starts, self.config.gibbs_steps, shape),
                example={"z": torch.randn(2, self._latent_size())},
                outputs=("x",),
                dynamic_shapes={"z": {0: "batch"}},
                inputs=latents,
                tolerance=1e-4,
            ),
        ]

    def _latent_size(self) -> int:
        visible, hidden = self.weight.shape
        return 1 + self.config.gibbs_steps * hidden + (self.config.gibbs_steps - 1) * visible

    def manifest_parts(self) -> dict[str, Any]:
        return {"latent": {"size": self._latent_size(), "prior": "normal"}}


FAMILY = RBM
