"""Diffusion: EDM (Karras et al. 2022, arXiv 2206.00364), class-conditional, with classifier-free guidance.

The preconditioned denoiser D(x; sigma, label) of training/layers/denoise_step.py minimises, over ln sigma ~ N(p_mean,
p_std^2) and x = y + sigma n,

    lambda(sigma) |D(x; sigma, label) - y|^2,   lambda = 1 / c_out^2 = (sigma^2 + sigma_data^2) / (sigma sigma_data)^2

so that it estimates E[y | x]. The label is dropped at `label_dropout` (Ho and Salimans 2022, arXiv 2207.12598): the same
network draws classes, guides itself, and denoises what nobody has classified. Samplers are the caller's.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from contract.manifest import Sampler
from training.family import Batch, DataSummary, Family, GraphExport, OptimizerConfig, Source
from training.layers.denoise_step import DenoiseStep, StepConfig, denoise_step_graph, noise_levels, step_optimizers


class Diffusion(Family):
    """Draws images of a class, in 1 to 50 steps, and denoises them at any level."""

    class Config(StepConfig):
        """`p_mean` and `p_std` are of ln sigma in training; `guidance` is the default of requests, 1 being none.

        Without `samplers` it is a denoiser: nobody draws with it, and it has no classes.
        """

        p_mean: float = -0.6
        p_std: float = 1.2
        label_dropout: float = 0.15
        guidance: float = 1.0
        samplers: tuple[Sampler, ...] = ("dpmpp_2m", "heun", "euler", "ancestral")
        validation_sigmas: tuple[float, ...] = (0.3, 0.5, 0.7)

    def __init__(self, config: Config, data: DataSummary):
        super().__init__(config, data if config.samplers else replace(data, class_names=()))
        self.denoise = DenoiseStep(config, data)

    def prepare(self, train: Source) -> None:
        self.denoise.measure(train)

    def optimizers(self, player: str, settings: OptimizerConfig) -> list[torch.optim.Optimizer]:
        return step_optimizers(self.denoise, settings)

    def loss(self, player: str, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        y = batch["x"]
        dropped = torch.rand(len(y), generator=generator, device=y.device) < self.config.label_dropout
        label = torch.where(dropped, self.data.classes, batch["label"]) if self.data.classes else None
        sigma = noise_levels(len(y), self.config.p_mean, self.config.p_std, generator, y.device)
        squared = self._squared_error(y, sigma, label, generator)
        _, c_out, _ = self.denoise.coefficients(sigma)
        return (squared / c_out.flatten().square()).mean(), {"mse": squared.mean().detach()}

    def _squared_error(self, y: Tensor, sigma: Tensor, label: Tensor | None, generator: torch.Generator) -> Tensor:
        """|D(y + sigma n) - y|^2 of each image, a mean over its values: (B,)."""
        n = torch.randn(y.shape, generator=generator, device=y.device)
        return (self.denoise(y + sigma[:, None, None, None] * n, sigma, label) - y).square().flatten(1).mean(1)

    def validation(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        y = batch["x"]
        figures = {"loss": self.loss("model", batch, generator)[0]}
        for level in self.config.validation_sigmas:
            squared = self._squared_error(y, torch.full_like(y[:, 0, 0, 0], level), None, generator)
            figures[f"psnr_{level}"] = -10 * squared.log10().mean()
        return figures

    def graphs(self) -> list[GraphExport]:
        return [denoise_step_graph(self.denoise, self.data, (self.config.sigma_min, self.config.sigma_max))]

    def manifest_parts(self) -> dict[str, Any]:
        parts: dict[str, Any] = {"sigma_range": (self.config.sigma_min, self.config.sigma_max)}
        if self.config.samplers:
            guidance = {"guidance": self.config.guidance} if self.data.classes else {}
            parts["sampling"] = {"samplers": self.config.samplers, "steps": 18, "max_steps": 50, **guidance}
        return parts


FAMILY = Diffusion
