"""Anomaly scores of a table's rows, learnt from normal rows alone: several statistics, and an ensemble of them.

    knn, knn_decorrelated, knn_ranks    minus the distance to the nearest known rows, in three spaces
    kde                                 log-density of kernels around known rows; the bandwidth is trained
    gaussian                            log-density of a Gaussian with a shrunk covariance
    mixture, mixture_ranks              log-density of mixtures of Gaussians, in two spaces
    flow                                log-density of spline flows, where there are FLOW_ROWS rows to learn from
    ensemble                            mean log of the share of normal rows that are as strange, over all of them

Rows x (B, D) are standardised by the training rows inside the graph. Shares are those among the known rows, each scored by
what has not seen it (`held_out`), and go on beyond the strangest of them. Half of the ensemble's weight is knn's, the best
of single statistics where all that is known is normal (Livernoche et al. 2024, arXiv:2305.18593); the other half goes, step
by step (Caruana et al. 2004, https://doi.org/10.1145/1015330.1015432), to those that help it to tell held-out rows from rows
that are made almost normal (`training/pseudo_rows.py`).

`surprise` adds up to minus the log-share of the default statistic [nats], each column having its part of the statistic.
"""

from collections.abc import Iterable
from typing import Any

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from contract import Capability
from contract.manifest import Scoring
from training import pseudo_rows
from training.family import Batch, DataSummary, Family, Frozen, GraphExport, OptimizerConfig, Source
from training.layers.combination import TailLogProbability
from training.layers.flows import Flows
from training.layers.mixtures import Mixtures
from training.layers.rank_gaussian import RankGaussian
from training.layers.row_statistics import (
    TOGETHER,
    Decorrelated,
    Kernels,
    NearestRows,
    OfFlows,
    OneGaussian,
    SeveralGaussians,
)
from training.layers.shrunk_gaussian import ShrunkGaussian

ENSEMBLE = "ensemble"
ANCHOR = "knn"
FLOW = "flow"
STATISTICS = ("knn", "knn_decorrelated", "knn_ranks", "kde", "gaussian", "mixture", "mixture_ranks", FLOW)
FLOW_ROWS = 1000
MADE = 4  # of each held-out row, by each kind
STEPS = 8  # in which half of the ensemble's weight is given away
EQUAL = 1e-6  # of a squared distance: rows that are there twice would have the bandwidth be 0
_TINY = 1e-12


class Scores(nn.Module):
    """x (B, D) -> normality (B, N), the ensemble last where there is one, and surprise (B, D) of the default.

    `weights` (M,) of the M statistics make the ensemble of their tails; without any there is none.
    """

    def __init__(self, family: "TableScores", weights: Tensor | None, default: int = 0):
        super().__init__()
        self.centre, self.scale = family.centre, family.scale
        self.statistics = nn.ModuleDict(family.statistics())
        self.tails = TailLogProbability(len(self.statistics))
        self.tails.fit(torch.stack([s.held_out(family.known) for s in self.statistics.values()], 1))
        self.weights = None if weights is None else weights[:, None]
        count = len(self.statistics)
        of_default = torch.eye(count)[default] if weights is None or default < count else weights
        self.counted: list[float] = of_default.tolist()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = (x - self.centre) * self.scale
        found = [statistic(x) for statistic in self.statistics.values()]
        normality = torch.stack([value for value, _ in found], 1)
        tails = self.tails(normality)
        surprise = torch.zeros_like(x)
        for number, weight in enumerate(self.counted):
            if weight:
                parts = found[number][1]
                whole = parts @ parts.new_ones(parts.shape[1], 1)
                surprise = surprise - weight * tails[:, number : number + 1] * (parts / (whole + _TINY))
        if self.weights is not None:
            normality = torch.cat([normality, tails @ self.weights], 1)
        return normality, surprise


class TableScores(Family):
    """Statistics of vectors. `log_bandwidth` is relative to Scott's rule, N^(-1 / (D + 4))."""

    centre: Tensor
    scale: Tensor
    points: Tensor
    left_out: Tensor
    flow_left_out: Tensor
    count: Tensor

    class Config(Frozen):
        """`points` is how many rows are kept at most, `rows` how many a mixture is fitted to."""

        points: int = 8192
        rows: int = 5000
        neighbours: int = 3
        components: int = 32
        statistics: tuple[str, ...] = (*STATISTICS, ENSEMBLE)

    def __init__(self, config: Config, data: DataSummary):
        super().__init__(config, data)
        size = data.shape[0] if data.kind == "vector" else None
        if size is None:
            raise ValueError(f"data: expected vectors, found {data.kind}; data.encoder makes vectors of images")
        if set(config.statistics) - {*STATISTICS, ENSEMBLE} or not set(config.statistics) - {ENSEMBLE}:
            known = ", ".join((*STATISTICS, ENSEMBLE))
            raise ValueError(f"model.statistics: expected some of {known}, found {', '.join(config.statistics)}")
        self.register_buffer("centre", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))
        self.register_buffer("points", torch.zeros(config.points, size))
        self.register_buffer("left_out", torch.zeros(config.points, 2))
        self.register_buffer("count", torch.ones((), dtype=torch.int64))
        self.gaussian, self.ranks = ShrunkGaussian(size), RankGaussian(size)
        self.mixtures = nn.ModuleList(Mixtures(size, config.components) for _ in range(2))
        if FLOW in config.statistics and size > 1:
            self.flows: Flows | None = Flows(size)
            self.register_buffer("flow_left_out", torch.zeros(config.points))
        else:
            self.flows = None
        self.log_bandwidth = nn.Parameter(torch.zeros(1))
        self.default, self.chosen_by = 0, ""
        self.weights = self._equal_weights()

    def _equal_weights(self) -> Tensor | None:
        return torch.full((len(self.singles),), 1 / len(self.singles)) if self.has_ensemble else None

    @property
    def singles(self) -> tuple[str, ...]:
        """The statistics without the ensemble, in their order."""
        return tuple(name for name in STATISTICS if name in self.config.statistics and (name != FLOW or self.has_flow))

    @property
    def has_flow(self) -> bool:
        """Whether there were rows enough for one."""
        return self.flows is not None and int(self.count) >= FLOW_ROWS

    @property
    def has_ensemble(self) -> bool:
        return ENSEMBLE in self.config.statistics

    @property
    def names(self) -> tuple[str, ...]:
        """The statistics in the order of normality's columns."""
        return (*self.singles, *((ENSEMBLE,) if self.has_ensemble else ()))

    @property
    def known(self) -> Tensor:
        """The standardised rows that are kept, (P, D)."""
        return self.points[: int(self.count)]

    @torch.no_grad()
    def prepare(self, train: Source) -> None:
        x = train.at(torch.randperm(len(train), generator=torch.Generator().manual_seed(0)))["x"]
        if len(x) < 10:
            raise ValueError(f"data: expected 10 rows to learn from at least, found {len(x)}")
        self.centre.copy_(x.double().mean(0))
        deviation = x.double().std(0)
        self.scale.copy_(torch.where(deviation > 0, 1 / deviation, 1.0))
        x = (x - self.centre) * self.scale
        known = x[: len(self.points)]
        self.count.fill_(len(known))
        self.points[: len(known)] = known
        if not self.singles:
            raise ValueError(f"model.statistics: a flow alone needs {FLOW_ROWS} rows at least, found {len(known)}")
        self.gaussian.fit(x)
        self.ranks.fit(x)
        for number, name in enumerate(("mixture", "mixture_ranks")):
            if name in self.singles:
                held_out = self.mixtures[number].fit(x if number == 0 else self.ranks(x), self.config.rows)
                self.left_out[: len(known), number] = held_out[: len(known)]
        if self.flows is not None and self.has_flow:
            self.flow_left_out[: len(known)] = self.flows.fit(x, self.config.rows)[: len(known)]
        self.weights = self._equal_weights()

    def bandwidth(self) -> Tensor:
        """h, (1,), in standard deviations."""
        return self.log_bandwidth.exp() * int(self.count) ** (-1 / (len(self.centre) + 4))

    def optimizers(self, player: str, settings: OptimizerConfig) -> list[torch.optim.Optimizer]:
        return [torch.optim.Adam([self.log_bandwidth], settings.learning_rate, settings.betas)]

    def loss(self, player: str, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Minus the log-density of known rows under the kernels around all the others that differ."""
        rows = torch.randint(int(self.count), (len(batch["x"]),), generator=generator, device=self.points.device)
        squares = torch.cdist(self.known[rows], self.known).square()
        exponents = (-0.5 * squares / self.bandwidth() ** 2).masked_fill(squares < EQUAL, -torch.inf)
        some = exponents.isfinite().any(1)
        log_prob = exponents[some].logsumexp(1) - len(self.centre) * self.bandwidth().log()
        return -log_prob.mean(), {"bandwidth": self.bandwidth().detach().mean()}

    def statistics(self) -> dict[str, nn.Module]:
        """All but the ensemble, by name."""
        ranks, decorrelated, same = self.ranks, Decorrelated(self.gaussian), nn.Identity()
        left_out, k = self.left_out[: int(self.count)], self.config.neighbours
        made: dict[str, Any] = {
            "knn": lambda: NearestRows(same, self.known, k),
            "knn_decorrelated": lambda: NearestRows(decorrelated, self.known, k),
            "knn_ranks": lambda: NearestRows(ranks, self.known, k),
            "kde": lambda: Kernels(self.known, float(self.bandwidth().detach())),
            "gaussian": lambda: OneGaussian(self.gaussian),
            "mixture": lambda: SeveralGaussians(same, self.mixtures[0], left_out[:, 0]),
            "mixture_ranks": lambda: SeveralGaussians(ranks, self.mixtures[1], left_out[:, 1]),
            FLOW: lambda: OfFlows(self.flows, self.flow_left_out[: int(self.count)]),
        }
        return {name: made[name]() for name in self.singles}

    @torch.no_grad()
    def fit(self, held_out: Iterable[Batch]) -> dict[str, float]:
        """Weigh the ensemble, or choose a default: by how well held-out rows are told from rows made of them."""
        x, scores = torch.cat([batch["x"] for batch in held_out]), Scores(self, None).eval()
        known, generator = self.known / self.scale + self.centre, torch.Generator().manual_seed(0)
        kinds = (make(x.repeat(MADE, 1), known, generator) for make in pseudo_rows.KINDS.values())
        normal, *made = (
            torch.cat([scores.tails(scores(part)[0]) for part in rows.split(TOGETHER)]) for rows in (x, *kinds)
        )
        aurocs = [_told(normal, made, weights) for weights in torch.eye(len(self.singles))]
        best = max(range(len(aurocs)), key=aurocs.__getitem__)
        found = f"held-out rows against rows made of them: {self.singles[best]} has a mean AUROC of {aurocs[best]:.3f}"
        self.default, self.chosen_by = best, f"{len(x)} {found}, the best"
        if self.has_ensemble:
            self.default, self.weights = len(self.singles), self._weighed(normal, made)
            told = _told(normal, made, self.weights)
            self.chosen_by = f"{len(x)} {found}, the ensemble whose weights were chosen by them {told:.3f}"
            return dict(zip((f"weight_of_{name}" for name in self.singles), self.weights.tolist(), strict=True))
        return dict(zip((f"auroc_of_made_rows_{name}" for name in self.singles), aurocs, strict=True))

    def _weighed(self, normal: Tensor, made: list[Tensor]) -> Tensor:
        """The ensemble's weights (M,), by tails of held-out rows (n, M) and of rows of each kind made of them."""
        given, each = torch.zeros(len(self.singles)), torch.eye(len(self.singles))
        for _ in range(STEPS):
            given = max((given + one for one in each), key=lambda weights: _told(normal, made, weights))
        chosen = given / STEPS
        return 0.5 * (chosen + each[self.singles.index(ANCHOR)]) if ANCHOR in self.singles else chosen

    @torch.no_grad()
    def graphs(self) -> list[GraphExport]:
        return [
            GraphExport(
                capability=Capability.SCORE,
                module=Scores(self, self.weights, self.default),
                example={"x": (self.known[:2] / self.scale + self.centre).clone()},
                outputs=("normality", "surprise"),
                dynamic_shapes={"x": {0: "batch"}},
                inputs=lambda batch: {"x": batch["x"]},
                tolerance=1e-2,
            )
        ]

    def manifest_parts(self) -> dict[str, Any]:
        return {"scoring": Scoring(statistics=self.names, default=self.names[self.default], chosen_by=self.chosen_by)}


def _told(normal: Tensor, made: list[Tensor], weights: Tensor) -> float:
    """The mean AUROC, over the kinds of made rows, of weighed tails: normal (n, M), made (m, M) each, weights (M,)."""
    aurocs = []
    for strange in made:
        is_normal = torch.cat([torch.ones(len(normal)), torch.zeros(len(strange))])
        aurocs.append(roc_auc_score(is_normal, torch.cat([normal, strange]) @ weights))
    return sum(aurocs) / len(aurocs)


FAMILY = TableScores
