"""Statistics of a table's rows: how normal each is, and what each column takes away from that.

    statistic(x) -> normality (B,), higher is more normal; parts (B, D), none negative     of standardised rows x (B, D)
    statistic.held_out(x) -> the normality of the known rows by what has not seen them, (P,)

`space` is where rows are compared: the columns as they are, without their correlations, or by their ranks. All three keep
columns apart, so that the parts are those of the columns.
"""

import torch
from torch import Tensor, nn

from training.layers.closest import Closest
from training.layers.flows import Flows
from training.layers.mixtures import Mixtures
from training.layers.shrunk_gaussian import ShrunkGaussian
from training.models.kde import LogDensity

TOGETHER = 1024
FOLDS = 5


class Decorrelated(nn.Module):
    """x (B, D) -> z (B, D) of unit covariance, each the nearest to its column."""

    def __init__(self, gaussian: ShrunkGaussian):
        super().__init__()
        self.gaussian = gaussian

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.gaussian.mean) @ self.gaussian.whitening


class NearestRows(nn.Module):
    """Minus the root mean square of the distances to the k nearest known rows."""

    def __init__(self, space: nn.Module, known: Tensor, k: int):
        super().__init__()
        self.space, self.k = space, min(k, len(known) - 1)
        self.closest = Closest(space(known), self.k)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        parts = self.closest(self.space(x)).mean(1)
        return -(parts @ parts.new_ones(parts.shape[1], 1)).squeeze(1).sqrt(), parts

    def held_out(self, known: Tensor) -> Tensor:
        found = []
        for rows in torch.arange(len(known)).split(TOGETHER):
            distances = torch.cdist(self.closest.points[rows], self.closest.points)
            distances[torch.arange(len(rows)), rows] = torch.inf
            found.append(-distances.topk(self.k, largest=False).values.square().mean(1).sqrt())
        return torch.cat(found)


class Kernels(nn.Module):
    """The log-density of kernels around the known rows, in nats; parts are the squared distances under the kernels."""

    def __init__(self, known: Tensor, bandwidth: float):
        super().__init__()
        size = known.shape[1]
        self.density = LogDensity(torch.zeros(size), torch.eye(size) / bandwidth, known)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores, rest = self.density.scores(x)
        likely = scores.log_softmax(1)  # of the kernels, (B, P)
        y, points = x @ self.density.transform, self.density.directions.T
        mean, square = likely.exp() @ points, likely.exp() @ (points * points)
        parts = (y * y - 2 * y * mean + square).clamp(min=0) / 2
        return scores.amax(1) - likely.amax(1) + rest, parts

    def held_out(self, known: Tensor) -> Tensor:
        found = []
        for rows in torch.arange(len(known)).split(TOGETHER):
            scores, rest = self.density.scores(known[rows])
            scores[torch.arange(len(rows)), rows] = -torch.inf
            found.append(scores.logsumexp(1) + rest)
        return torch.cat(found)


class OneGaussian(nn.Module):
    """The log-density of a shrunk Gaussian, in nats."""

    def __init__(self, gaussian: ShrunkGaussian):
        super().__init__()
        self.gaussian = gaussian

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.gaussian(x), self.gaussian.parts(x)

    def held_out(self, known: Tensor) -> Tensor:
        fold, found = torch.arange(len(known)) % FOLDS, torch.zeros(len(known))
        for number in range(FOLDS):
            without = ShrunkGaussian(known.shape[1])
            without.fit(known[fold != number])
            found[fold == number] = without(known[fold == number])
        return found


class SeveralGaussians(nn.Module):
    """The log-density of mixtures, in nats of their space; `left_out` has been found when they were fitted."""

    def __init__(self, space: nn.Module, mixtures: Mixtures, left_out: Tensor):
        super().__init__()
        self.space, self.mixtures, self.left_out = space, mixtures.pruned(), left_out

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.mixtures(self.space(x))

    def held_out(self, known: Tensor) -> Tensor:
        return self.left_out


class OfFlows(nn.Module):
    """The log-density of spline flows, in nats; `left_out` has been found when they were trained."""

    def __init__(self, flows: Flows, left_out: Tensor):
        super().__init__()
        self.flows, self.left_out = flows, left_out

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.flows(x)

    def held_out(self, known: Tensor) -> Tensor:
        return self.left_out
