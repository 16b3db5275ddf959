"""Few-step generation: a consistency model, tuned from a diffusion model's averaged weights.

f(x; sigma, label) maps every point of the probability flow's path, x = y + sigma n, to where it started; f(x; sigma_min) = x
is built into the preconditioning (training/layers/denoise_step.py). Easy consistency tuning (Geng et al. 2024, arXiv
2406.14548): with the same y and n at two levels r < t,

    d = f(y + t n; t) - stopgrad f(y + r n; r),   loss = (sqrt(|d|^2 + c^2) - c) / (t - r),  c of pseudo-Huber
    r = t (1 - m(t) / q),  m(t) = 1 + 8 sigmoid(-t)  in the paper's units, where sigma_data is 0.5

(pseudo-Huber: Song and Dhariwal 2023, arXiv 2310.14189). q doubles every `double_every` steps: far apart, r is the start of
the path and the loss a diffusion model's; close together, it is a consistency model's. The teacher is needed for its
weights alone. One evaluation at sigma_max draws an image; more draw, add noise and denoise again.
"""

import math
from typing import Any

import torch
from torch import Tensor

from training.family import Batch, DataSummary, Family, GraphExport, OptimizerConfig, Source
from training.layers.denoise_step import DenoiseStep, StepConfig, denoise_step_graph, noise_levels, step_optimizers

PAPERS_SIGMA_DATA = 0.5


class Consistency(Family):
    """Draws images of a class in 1 to 4 steps."""

    batches: Tensor

    class Config(StepConfig):
        """`teacher` is a diffusion recipe with the same network. q goes from `first_ratio` to `last_ratio`, and
        `huber` is c, for an image's root of squared errors summed."""

        teacher: str | None = None
        p_mean: float = 0.3
        p_std: float = 1.5
        first_ratio: float = 2.0
        last_ratio: float = 64.0
        double_every: int = 200
        huber: float = 0.03

    def __init__(self, config: Config, data: DataSummary):
        super().__init__(config, data)
        self.teacher = config.teacher
        self.denoise = DenoiseStep(config, data, boundary=config.sigma_min)
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))

    def prepare(self, train: Source) -> None:
        self.denoise.measure(train)

    def start_from(self, teacher: Family) -> None:
        for name in ("widths", "blocks", "embedding"):
            ours, theirs = getattr(self.config, name), getattr(teacher.config, name, None)
            if ours != theirs:
                raise ValueError(f"model.{name}: expected the teacher's, {theirs}, found {ours}")
        self.denoise.load_state_dict(teacher.get_submodule("denoise").state_dict())

    def optimizers(self, player: str, settings: OptimizerConfig) -> list[torch.optim.Optimizer]:
        return step_optimizers(self.denoise, settings)

    def ratio(self) -> float:
        """q, after as many batches as there have been."""
        doublings = int(self.batches) / self.config.double_every
        return 2 ** min(math.log2(self.config.first_ratio) + doublings, math.log2(self.config.last_ratio))

    def earlier(self, t: Tensor) -> Tensor:
        """r < t, the level that t is compared with: (B,), at least sigma_min."""
        in_papers_units = t * PAPERS_SIGMA_DATA / self.denoise.sigma_data
        m = 1 + 8 * torch.sigmoid(-in_papers_units)
        return (t * (1 - m / self.ratio())).clamp(min=self.config.sigma_min)

    def loss(self, player: str, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        y, label = batch["x"], batch["label"] if self.data.classes else None
        t = noise_levels(len(y), self.config.p_mean, self.config.p_std, generator, y.device)
        t = t.clamp(min=2 * self.config.sigma_min, max=self.config.sigma_max)
        r = self.earlier(t)
        n = torch.randn(y.shape, generator=generator, device=y.device)
        with torch.no_grad():
            target = self.denoise(y + r[:, None, None, None] * n, r, label)
        difference = self.denoise(y + t[:, None, None, None] * n, t, label) - target
        squared = difference.square().flatten(1).sum(1)  # (B,)
        c = self.config.huber
        loss = ((squared + c**2).sqrt() - c) / (t - r)
        self.batches += 1
        return loss.mean(), {"distance": squared.detach().sqrt().mean(), "ratio": t.new_tensor(self.ratio())}

    def graphs(self) -> list[GraphExport]:
        return [denoise_step_graph(self.denoise, self.data, (self.config.sigma_min, self.config.sigma_max))]

    def manifest_parts(self) -> dict[str, Any]:
        sampling = {"samplers": ("consistency",), "steps": 1, "max_steps": 4}
        return {"sigma_range": (self.config.sigma_min, self.config.sigma_max), "sampling": sampling}


FAMILY = Consistency
