"""Kernel density estimation with a Gaussian kernel (Rosenblatt 1956, Parzen 1962): exact density of vectors.

With points x_i (N, D) of the training set, y = (x - centre) T, and T either the columns' inverse standard deviations or a
whitening, a bandwidth h for all directions or one for each:

    log p(x) = logsumexp_i(y·y_i - |y_i|^2 / 2) - |y|^2 / 2 - log N - D/2 log 2 pi + log |det T|,    T divided by h [nats]

so that all distances are one matrix product. h maximises the leave-one-out likelihood (Habbema et al. 1974, Duin 1976):
a point's density under all the others. It begins at Scott's rule, N^(-1 / (D + 4)).
"""

import math
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn

from contract import Capability
from training.family import Batch, DataSummary, Family, Frozen, GraphExport, OptimizerConfig, Source

MIN_VARIANCE = 1e-4  # of a direction of the whitening, as a share of the largest


class LogDensity(nn.Module):
    """x (B, D) -> log_prob (B,), by `transform` (D, D), which has the bandwidth in it, and `points` (N, D).

    logsumexp is the largest score minus the largest logarithm of a softmax: ONNX Runtime has that row by row, where its
    logarithm of a batch of sums rounds differently with a row's place in it.
    """

    def __init__(self, centre: Tensor, transform: Tensor, points: Tensor):
        super().__init__()
        y = (points - centre) @ transform
        log_abs_det = torch.linalg.slogdet(transform.double()).logabsdet
        constant = log_abs_det - 0.5 * len(centre) * math.log(2 * math.pi) - math.log(len(points))
        self.centre, self.transform, self.constant = centre, transform, constant.to(y.dtype)
        self.directions, self.half_squares = y.T.contiguous(), 0.5 * y.square().sum(1)

    def scores(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What logsumexp is taken of, (B, N), and what comes on top of it, (B,)."""
        y = (x - self.centre) @ self.transform  # (B, D)
        half_square = 0.5 * (y * y @ y.new_ones(y.shape[1], 1)).squeeze(1)
        return y @ self.directions - self.half_squares, self.constant - half_square

    def forward(self, x: Tensor) -> Tensor:
        scores, rest = self.scores(x)
        return scores.amax(1) - scores.log_softmax(1).amax(1) + rest


class KDE(Family):
    """Exact density of vectors. `log_bandwidth` is relative to Scott's rule."""

    centre: Tensor
    transform: Tensor
    points: Tensor
    count: Tensor

    class Config(Frozen):
        """`points` is how many are kept at most."""

        points: int = 8192
        scaling: Literal["columns", "whitening"] = "columns"
        bandwidths: Literal["one", "each"] = "one"

    def __init__(self, config: Config, data: DataSummary):
        super().__init__(config, data)
        size = data.shape[0] if data.kind == "vector" else None
        if size is None:
            raise ValueError(f"data: expected vectors, found {data.kind}; data.encoder makes vectors of images")
        self.register_buffer("centre", torch.zeros(size))
        self.register_buffer("transform", torch.eye(size))
        self.register_buffer("points", torch.zeros(config.points, size))
        self.register_buffer("count", torch.ones((), dtype=torch.int64))
        self.log_bandwidth = nn.Parameter(torch.zeros(size if config.bandwidths == "each" else 1))

    def prepare(self, train: Source) -> None:
        chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[: len(self.points)]
        x = train.at(chosen)["x"]
        self.count.fill_(len(x))
        self.points[: len(x)] = x
        self.centre.copy_(x.mean(0))
        if self.config.scaling == "columns":
            deviation = x.std(0)
            self.transform.copy_(torch.where(deviation > 0, 1 / deviation, 1.0).diag())
        else:
            variance, directions = torch.linalg.eigh(torch.atleast_2d((x - self.centre).double().T.cov()))
            self.transform.copy_(directions / variance.clamp(min=MIN_VARIANCE * variance[-1]).sqrt())

    def density(self) -> LogDensity:
        """With the present bandwidth; the unused places of `points` are left out."""
        return LogDensity(self.centre, self.transform / self.bandwidth(), self.points[: int(self.count)])

    def bandwidth(self) -> Tensor:
        """h, (1,) or (D,), in standard deviations."""
        return self.log_bandwidth.exp() * int(self.count) ** (-1 / (len(self.centre) + 4))

    def optimizers(self, player: str, settings: OptimizerConfig) -> list[torch.optim.Optimizer]:
        return [torch.optim.Adam(self.parameters(), settings.learning_rate, settings.betas)]

    def loss(self, player: str, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Minus the leave-one-out likelihood. To be left out, rows must be points: as many as the batch has are drawn."""
        count = int(self.count)
        left_out = torch.randint(count, (len(batch["x"]), 1), generator=generator, device=self.points.device)
        scores, rest = self.density().scores(self.points[left_out.squeeze(1)])
        scores = scores.scatter(1, left_out, -torch.inf)
        log_prob = scores.logsumexp(1) + rest + math.log(count / (count - 1))
        return -log_prob.mean(), {"bandwidth": self.bandwidth().detach().mean()}

    def validation(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        return {"loss": -self.density()(batch["x"]).mean()}

    def graphs(self) -> list[GraphExport]:
        with torch.no_grad():
            density = self.density()
        return [
            GraphExport(
                capability=Capability.LOG_DENSITY,
                module=density,
                example={"x": self.points[:2].clone()},
                outputs=("log_prob",),
                dynamic_shapes={"x": {0: "batch"}},
                inputs=lambda batch: {"x": batch["x"]},
                tolerance=1e-4,
                density="exact",
            )
        ]

    def fit(self, held_out: Iterable[Batch]) -> dict[str, float]:
        return {"points": float(self.count), "mean_bandwidth": float(self.bandwidth().mean())}


FAMILY = KDE
