"""Anomaly scores of images, learnt from normal images alone: several statistics, and one of the rarest among them.

    log_prob              the grey levels' probability under a model of contexts, exact, in nats
    complexity_corrected  log_prob plus what a lossless codec needs for the image, in nats (Serrà et al. 2020)
    typicality            minus log_prob's distance from its mean (Nalisnick et al. 2019, arXiv 1906.02994)
    reconstruction        minus the squared residual of principal components
    dose                  minus the distance to known images by their habits, log_prob, codec length and residual among
                          them (a density over statistics: Morningstar et al. 2021)
    gaussian              log-density of the upright image's gradient histograms, one Gaussian
    nearest               minus the distance to known images by gradient histograms
    nearest_upright       the same, of the upright image
    combined              minus the rarity of dose, nearest and nearest_upright: how small the shares of held-out images
                          are that score as low, in nats (`combination.py`)

Nothing is trained: `prepare` fits everything to the training images but a tenth, which says how rare a score is. The
default is chosen at export: `combined`, or the statistic that tells held-out images from what is made of them
(`training/pseudo_anomalies.py`) clearly better.

`surprise` adds up to minus `combined`, or to minus the log-share of another default, in nats; each of the statistics that
decide gives its part to the pixels where it comes from.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from contract import Capability
from contract.manifest import Scoring
from training.data.source import in_order
from training.family import Batch, DataSummary, Family, Frozen, GraphExport, Source
from training.layers.codec_bits import CodecBits
from training.layers.combination import TailLogProbability, rarity
from training.layers.context_model import ContextModel
from training.layers.gradient_histograms import GradientHistograms
from training.layers.habits import SIZE as HABITS
from training.layers.habits import Habits
from training.layers.principal_residual import PrincipalResidual
from training.layers.shrunk_gaussian import ShrunkGaussian
from training.layers.upright import Moments, Upright
from training.layers.whitened_nearest import WhitenedNearest
from training.pseudo_anomalies import pseudo_anomalies

COMBINED = ("dose", "nearest", "nearest_upright")
STATISTICS = (
    "log_prob",
    "complexity_corrected",
    "typicality",
    "reconstruction",
    "dose",
    "gaussian",
    "nearest",
    "nearest_upright",
)
NAMES = (*STATISTICS, "combined")
AT_ONCE = 500
RARITY_SHARE = 0.1
CLEARLY = 0.02
"""By how much in mean AUROC another statistic must beat `combined` on images that are made."""
NOWHERE = 1e-6  # so that an image without any surprise has a sum to divide by; the exporter takes 1e-9 for 0


class Scores(nn.Module):
    """The `score` graph: x (B, 1, H, W) -> normality (B, 9) by NAMES, and surprise (B, 1, H, W) of the default."""

    usual_log_prob: Tensor
    centre: Tensor
    scale: Tensor

    def __init__(self, config: "ImageScores.Config", height: int, width: int):
        super().__init__()
        self.contexts, self.bits = ContextModel(), CodecBits()
        self.moments, self.upright, self.habits = Moments(height, width), Upright(height, width), Habits(height, width)
        self.residual = PrincipalResidual(height * width, config.components)
        self.histograms = GradientHistograms(height, width)
        habits, size, points, k = HABITS + 4, self.histograms.size, config.points, config.neighbours
        self.by_habits = WhitenedNearest(habits, habits, points, k)
        self.by_outline, self.by_upright = (WhitenedNearest(size, config.directions, points, k) for _ in range(2))
        self.gaussian = ShrunkGaussian(size)
        self.tails = TailLogProbability(len(STATISTICS))
        self.register_buffer("usual_log_prob", torch.zeros(()))
        self.register_buffer("centre", torch.zeros(habits))
        self.register_buffer("scale", torch.ones(habits))
        self.default = len(STATISTICS)

    def features(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Habits (B, 23), log_prob and codec length first; histograms of the image and of the upright one."""
        levels, moments, residual = grey_levels(x), self.moments(x), self.residual(x.flatten(1))
        return self._habits(x, levels, moments, self.contexts(levels)[0], residual), *self._outlines(x, moments)

    def _habits(self, x: Tensor, levels: Tensor, moments: Tensor, log_probs: Tensor, residual: Tensor) -> Tensor:
        log_prob, length = _sum(log_probs.flatten(1)), math.log(2) * self.bits(levels)
        plain = torch.stack([log_prob, length, log_prob + length, _sum(residual * residual)], dim=1)
        return torch.cat([plain, self.habits(x, levels, moments)], dim=1)

    def _outlines(self, x: Tensor, moments: Tensor) -> tuple[Tensor, Tensor]:
        return self.histograms(x), self.histograms(self.upright(x, moments))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        levels, moments, residual = grey_levels(x), self.moments(x), self.residual(x.flatten(1))
        log_probs, excess = self.contexts(levels)
        habits = self._habits(x, levels, moments, log_probs, residual)
        outline, upright = self._outlines(x, moments)
        log_prob, _, corrected, lost = habits[:, :4].unbind(1)
        dose, _ = self.by_habits((habits - self.centre) * self.scale)
        nearest, of_outline = self.by_outline(outline)
        nearest_upright, of_upright = self.by_upright(upright)
        typicality = -(log_prob - self.usual_log_prob).abs()
        by_name = (log_prob, corrected, typicality, -lost, dose, self.gaussian(upright), nearest, nearest_upright)
        normality = torch.stack(by_name, dim=1)  # (B, 8)
        tails = self.tails(normality)
        combined = rarity(tails[:, [STATISTICS.index(name) for name in COMBINED]])  # (B, 1)

        where: dict[str, Tensor] = dict.fromkeys(STATISTICS[:5], excess.clamp(min=0))
        where["reconstruction"] = residual * residual
        where["nearest"] = self.histograms.to_pixels(of_outline)
        for name, parts in (("gaussian", self.gaussian.parts(upright)), ("nearest_upright", of_upright)):
            where[name] = self.upright.back(self.histograms.to_pixels(parts), moments)
        deciding = COMBINED if self.default == len(STATISTICS) else (STATISTICS[self.default],)
        tails_of = {name: tails[:, STATISTICS.index(name), None] for name in deciding}
        whole = rarity(torch.cat(list(tails_of.values()), dim=1)).clamp(min=NOWHERE)
        surprise = torch.zeros_like(x)
        for name, tail in tails_of.items():
            parts = where[name].flatten(1) + NOWHERE
            surprise = surprise + (tail * tail / whole * parts / _sum(parts)[:, None]).view_as(x)
        return torch.cat([normality, -combined], dim=1), surprise


def grey_levels(x: Tensor) -> Tensor:
    """Of x in [0, 1], whole numbers of 0 to 255."""
    return (x.clamp(0, 1) * 255).round()


def _sum(values: Tensor) -> Tensor:
    """Of each row (B, N), as a product: a sum of ONNX Runtime's depends on the batch."""
    return (values @ values.new_ones(values.shape[1], 1)).squeeze(1)


class ImageScores(Family):
    """Statistics of grey images of one size."""

    class Config(Frozen):
        """`points` known images are kept, each by `directions` of its gradient histograms, whose covariance is shrunk by
        `shrinkage`; `components` leave the residual of `reconstruction`."""

        points: int = 2048
        neighbours: int = 3
        directions: int = 128
        shrinkage: float = 0.3
        components: int = 32

    def __init__(self, config: Config, data: DataSummary):
        super().__init__(config, data)
        if data.kind != "image" or data.shape[0] != 1 or None in data.shape:
            found = f"{data.kind}s of shape {list(data.shape)}"
            raise ValueError(f"data: expected grey images of one size, [1, height, width], found {found}")
        _, height, width = (int(side or 0) for side in data.shape)
        self.scores = Scores(config, height, width)
        self.found: dict[str, float] = {}

    @torch.no_grad()
    def prepare(self, train: Source) -> None:
        scores, generator = self.scores, torch.Generator().manual_seed(0)
        x = torch.cat([train.at(indices)["x"] for indices in in_order(train, AT_ONCE)])
        x = x[torch.randperm(len(x), generator=generator)]
        unseen = int(RARITY_SHARE * len(x))
        x, held_out = x[unseen:], x[:unseen]
        scores.contexts.fit(grey_levels(part) for part in x.split(AT_ONCE))
        scores.residual.fit(x.flatten(1))
        scores.upright.fit(torch.cat([scores.moments(part) for part in x.split(AT_ONCE)]))
        features = [scores.features(part) for part in x.split(AT_ONCE)]
        habits, outline, upright = (torch.cat(part) for part in zip(*features, strict=True))
        scores.centre.copy_(habits.mean(0))
        deviation = habits.std(0)
        scores.scale.copy_(torch.where(deviation > 0, 1 / deviation, 1.0))
        scores.by_habits.fit((habits - scores.centre) * scores.scale, self.config.shrinkage, generator)
        scores.by_outline.fit(outline, self.config.shrinkage, generator)
        scores.by_upright.fit(upright, self.config.shrinkage, generator)
        scores.gaussian.fit(upright, self.config.shrinkage)
        scores.usual_log_prob.copy_(torch.cat([scores.features(p)[0] for p in held_out.split(AT_ONCE)])[:, 0].mean())
        scores.tails.fit(self._normality(held_out)[:, : len(STATISTICS)])

    def _normality(self, x: Tensor) -> Tensor:
        return torch.cat([self.scores(part)[0] for part in x.split(AT_ONCE)])

    @torch.no_grad()
    def fit(self, held_out: Iterable[Batch]) -> dict[str, float]:
        """Choose the default by the mean AUROC over the kinds of pseudo-anomalies; of each statistic, it is a figure."""
        x = torch.cat([batch["x"] for batch in held_out])
        normal = self._normality(x)
        made = pseudo_anomalies(x[:1000], torch.Generator().manual_seed(0))
        aurocs = torch.stack([_aurocs(normal, self._normality(images)) for images in made.values()]).mean(0)
        best = int(aurocs.argmax())
        self.scores.default = best if aurocs[best] > aurocs[-1] + CLEARLY else len(STATISTICS)
        self.found = {name: round(float(value), 4) for name, value in zip(NAMES, aurocs, strict=True)}
        return {f"auroc_of_pseudo_anomalies_by_{name}": value for name, value in self.found.items()}

    def graphs(self) -> list[GraphExport]:
        return [
            GraphExport(
                capability=Capability.SCORE,
                module=self.scores,
                example={"x": torch.rand(2, *self.data.shape)},
                outputs=("normality", "surprise"),
                dynamic_shapes={"x": {0: "batch"}},
                inputs=lambda batch: {"x": batch["x"]},
                tolerance=1e-2,
            )
        ]

    def manifest_parts(self) -> dict[str, Any]:
        default = NAMES[self.scores.default]
        best = max(self.found, key=lambda name: self.found[name], default=default)
        chosen_by = (
            f"mean AUROC {self.found.get(default)} of held-out normal images against images made of them, the best being "
            f"{best} with {self.found.get(best)}; combined unless another is better by {CLEARLY}"
        )
        return {"scoring": Scoring(statistics=NAMES, default=default, chosen_by=chosen_by)}


def _aurocs(normal: Tensor, strange: Tensor) -> Tensor:
    """Of each column of scores (n, N) and (m, N), (N,)."""
    is_normal = torch.cat([torch.ones(len(normal)), torch.zeros(len(strange))])
    return torch.tensor([roc_auc_score(is_normal, column) for column in torch.cat([normal, strange]).T])


FAMILY: type[Family] = ImageScores
