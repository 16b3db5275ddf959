"""A denoiser D(x; sigma, label): EDM's preconditioning around a U-Net, and the graph that does one step of sampling.

x = y + sigma n, of data y with mean mu and standard deviation sigma_data; c_noise = ln(sigma) / 4 and

    D(x; sigma) = mu + c_skip (x - mu) + c_out F(c_in (x - mu); c_noise)
    c_skip = sigma_data^2 / ((sigma - eps)^2 + sigma_data^2)
    c_out = (sigma - eps) sigma_data / sqrt(sigma^2 + sigma_data^2),  c_in = 1 / sqrt(sigma^2 + sigma_data^2)

With eps = 0 it is EDM's (Karras et al. 2022, arXiv 2206.00364, table 1), by which F's input and target have unit variance;
with eps = sigma_min it is a consistency function, D(x; sigma_min) = x (Song et al. 2023, arXiv 2303.01469, appendix C).
All levels are in the units of x, [0, 1]: no range is mapped by anyone.
"""

import math

import torch
from torch import Tensor, nn

from contract import Capability
from training.family import Batch, DataSummary, Frozen, GraphExport, OptimizerConfig, Source
from training.layers.unet import UNet, multiple_of
from training.muon import Muon

LOOKED_AT = 10_000  # items of the training set, for its mean and deviation


class StepConfig(Frozen):
    """The network, `widths` from fine to coarse, and the noise levels between which it is used, in the units of x."""

    widths: tuple[int, ...] = (64, 128)
    blocks: int = 2
    embedding: int = 128
    sigma_min: float = 0.01
    sigma_max: float = 20.0


def _log(sigma: Tensor) -> Tensor:
    """ln sigma, (B,). A graph works it out for 16 copies of each: ONNX Runtime takes a batch's logarithms by blocks of four,
    and what is left over on another path, so that the last bits of a row would depend on the others."""
    return sigma[:, None].expand(-1, 16).log()[:, 0] if torch.compiler.is_exporting() else sigma.log()


class DenoiseStep(nn.Module):
    """The `denoise_step` graph: x_t (B, C, H, W), sigma (B,) > 0, label (B,) -> x0 (B, C, H, W), not clipped.

    A label of `classes`, or none at all, is 'no class'. `boundary` is eps.
    """

    mean: Tensor
    sigma_data: Tensor

    def __init__(self, config: StepConfig, data: DataSummary, boundary: float = 0.0):
        super().__init__()
        sides, multiple = data.shape[1:], multiple_of(config.widths)
        if len(data.shape) != 3 or any(side is None or side % multiple for side in sides):
            raise ValueError(
                f"data.shape: expected (C, H, W) with sides in multiples of {multiple}, found {data.shape}"
            )
        self.network = UNet(data.shape[0] or 1, data.classes, config.widths, config.blocks, config.embedding)
        self.classes, self.boundary = data.classes, boundary
        self.register_buffer("mean", torch.tensor(0.5))
        self.register_buffer("sigma_data", torch.tensor(0.5))

    def measure(self, train: Source) -> None:
        """Take mean and sigma_data, over all positions, from the training set."""
        indices = torch.linspace(0, len(train) - 1, min(LOOKED_AT, len(train))).long()
        x = train.at(indices)["x"].double()
        self.mean.fill_(x.mean())
        self.sigma_data.fill_(x.std())

    def coefficients(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """c_skip, c_out and c_in, (B, 1, 1, 1) each."""
        sigma = sigma[:, None, None, None]
        above = sigma - self.boundary
        c_in = (sigma.square() + self.sigma_data.square()).rsqrt()
        c_skip = self.sigma_data.square() / (above.square() + self.sigma_data.square())
        return c_skip, above * self.sigma_data * c_in, c_in

    def forward(self, x_t: Tensor, sigma: Tensor, label: Tensor | None = None) -> Tensor:
        if label is None:
            label = torch.zeros_like(sigma, dtype=torch.long) + self.classes
        c_skip, c_out, c_in = self.coefficients(sigma)
        x = x_t - self.mean
        f = self.network(c_in * x, _log(sigma) / 4, label)
        return self.mean + c_skip * x + c_out * f.float()


def noise_levels(count: int, p_mean: float, p_std: float, generator: torch.Generator, device: torch.device) -> Tensor:
    """ln sigma ~ N(p_mean, p_std^2), (count,), one in each of `count` equally likely intervals.

    Stratified as in Kingma et al. (2021, arXiv 2107.00630, appendix I.1): it takes noise out of a batch's loss.
    """
    share = (torch.arange(count, device=device) + torch.rand(count, generator=generator, device=device)) / count
    return (p_mean + p_std * torch.special.ndtri(share.clamp(1e-6, 1 - 1e-6))).exp()


def step_optimizers(denoise: DenoiseStep, settings: OptimizerConfig) -> list[torch.optim.Optimizer]:
    """Muon for matrices and kernels, AdamW for gains, biases and the classes' embedding; AdamW alone at Muon's rate 0."""
    rest = {id(p) for p in denoise.network.label.parameters()}
    matrices = [p for p in denoise.parameters() if p.ndim > 1 and id(p) not in rest]
    if not settings.muon_learning_rate:
        matrices = []
    chosen = {id(p) for p in matrices}
    adamw = torch.optim.AdamW(
        [p for p in denoise.parameters() if id(p) not in chosen],
        lr=settings.learning_rate,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
    )
    if not matrices:
        return [adamw]
    return [Muon(matrices, settings.muon_learning_rate, weight_decay=settings.muon_weight_decay), adamw]


def denoise_step_graph(denoise: DenoiseStep, data: DataSummary, levels: tuple[float, float]) -> GraphExport:
    """The graph, compared with torch at noise levels all over `levels`; of classes where the data have some."""
    low, high = (math.log(level) for level in levels)

    def inputs(batch: Batch) -> dict[str, Tensor]:
        x = batch["x"]
        sigma = torch.linspace(high, low, len(x) + 1)[1:].exp()
        n = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
        tensors = {"x_t": x + sigma[:, None, None, None] * n, "sigma": sigma}
        if data.classes:
            null = torch.arange(len(x)) % 3 == 2
            tensors["label"] = torch.where(null, data.classes, batch["label"])
        return tensors

    example = inputs({"x": torch.rand(2, *data.shape), "label": torch.arange(2)})
    return GraphExport(
        capability=Capability.DENOISE_STEP,
        module=denoise,
        example=example,
        outputs=("x0",),
        dynamic_shapes={name: {0: "batch"} for name in example},
        inputs=inputs,
        tolerance=1e-4,
    )
