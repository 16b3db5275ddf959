"""Anomaly scores of lines, of a log or another text, by a small character model that was trained on normal lines.

    log_prob            log-probability of the line and of its end, exact, in nats
    per_token           the same for each token
    standardised        log_prob against what the model itself expects of such tokens: (log p + sum H) / sqrt(sum V), where H
                        and V are mean and variance of -log p under each predicted distribution; it does not depend on length
    typicality          minus the amount of `standardised`: what repeats itself is too likely (Nalisnick et al. 2019,
                        arXiv:1906.02994)
    rarest_token        the least log-probability of a token
    rarest_run          the least mean of RUN tokens in a row
    combined            minus the rarity of all but the first: how small the shares of held-out lines are that score as low,
                        in nats (`combination.py`)

The default is chosen at export: `combined`, or the statistic that tells held-out lines from what is made of them
(`training/pseudo_lines.py`) clearly better. `surprise` is each token's, -log p in nats; they add up to minus log_prob.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from contract import Capability
from contract.manifest import Scoring
from training.family import Batch, DataSummary, Family, GraphExport, OptimizerConfig
from training.layers.combination import TailLogProbability, rarity
from training.models.gpt import GPT
from training.pseudo_lines import pseudo_lines

STATISTICS = ("log_prob", "per_token", "standardised", "typicality", "rarest_token", "rarest_run")
COMBINED = slice(1, None)
NAMES = (*STATISTICS, "combined")
RUN = 8
CLEARLY = 0.02
"""By how much in mean AUROC another statistic must beat `combined` on lines that are made."""
AT_ONCE = 64
_TINY = 1e-6  # the exporter takes 1e-9 for 0


class Scores(nn.Module):
    """The `score` graph: input_ids (B, T), lengths (B,) -> normality (B, 7) by NAMES, surprise (B, T).

    The first token of a row is given, and so its surprise is 0, as is that of padding.
    """

    def __init__(self, gpt: GPT):
        super().__init__()
        self.gpt = gpt
        self.tails = TailLogProbability(len(STATISTICS) - 1)
        self.default = len(STATISTICS)

    def statistics(self, input_ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """All but the last, (B, 6); and the tokens' log-probabilities, (B, T)."""
        log_probs = self.gpt(input_ids[:, :-1]).log_softmax(-1)  # (B, T - 1, V)
        log_prob = log_probs.gather(-1, input_ids[:, 1:, None])[:, :, 0]
        probs, ones = log_probs.exp(), log_probs.new_ones(log_probs.shape[-1], 1)
        mean = ((probs * log_probs) @ ones)[:, :, 0]  # -H
        variance = ((probs * (log_probs - mean[:, :, None]).square()) @ ones)[:, :, 0]
        counts = torch.arange(1, input_ids.shape[1], device=input_ids.device)[None, :] < lengths[:, None]
        log_prob, mean, variance = (torch.where(counts, part, 0.0) for part in (log_prob, mean, variance))
        # In float64, for the last bits of a float32 sum depend on the number of rows.
        total, expected, spread = (part.double().sum(-1) for part in (log_prob, mean, variance))
        standardised = (total - expected) / (spread + _TINY).sqrt()
        runs = F.pad(log_prob, (RUN - 1, 0)).unfold(1, RUN, 1).double().sum(-1)  # that end at each token
        tokens = (lengths - 1).clamp(min=1)
        found = [total, total / tokens, standardised, -standardised.abs(), log_prob.amin(1), runs.amin(1) / RUN]
        return torch.stack([part.float() for part in found], 1), F.pad(log_prob, (1, 0))

    def forward(self, input_ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        statistics, log_prob = self.statistics(input_ids, lengths)
        combined = rarity(self.tails(statistics[:, COMBINED]))
        return torch.cat([statistics, -combined], 1), -log_prob


class LineScores(Family):
    """Statistics of lines of text."""

    class Config(GPT.Config):
        layers: int = 3
        width: int = 64
        heads: int = 2
        context: int = 128
        dropout: float = 0.0

    def __init__(self, config: Config, data: DataSummary):
        super().__init__(config, data)
        if data.kind != "text":
            raise ValueError(f"data.dataset: expected lines of text, found {data.kind}s")
        self.scores = Scores(GPT(config, data))
        self.found: dict[str, float] = {}

    def optimizers(self, player: str, settings: OptimizerConfig) -> list[torch.optim.Optimizer]:
        return self.scores.gpt.optimizers(player, settings)

    def loss(self, player: str, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Nats per token, the end of each line among them."""
        tokens, lengths = batch["input_ids"], batch["lengths"]  # (B, T), (B,)
        places = torch.arange(1, tokens.shape[1], device=tokens.device)
        targets = tokens[:, 1:].masked_fill(places >= lengths[:, None], -100)
        return F.cross_entropy(self.scores.gpt(tokens[:, :-1]).flatten(0, 1), targets.flatten(), ignore_index=-100), {}

    def validation(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        return {"loss": self.loss("model", batch, generator)[0]}

    @torch.no_grad()
    def fit(self, held_out: Iterable[Batch]) -> dict[str, float]:
        """Tails on one half of held-out lines; the default by the other half, and lines made of it."""
        batches = list(held_out)
        lines = [row[:n].tolist() for b in batches for row, n in zip(b["input_ids"], b["lengths"], strict=True)]
        first, second = lines[::2], lines[1::2]
        self.scores.tails.fit(self._statistics(first)[:, COMBINED])
        start, end = self.data.start_token, self.data.end_token
        whole = [line[1:-1] for line in second if len(line) > 2]
        normal = self._normality(second)
        made = pseudo_lines(whole, np.random.default_rng(0))
        most = self.config.context + 1
        aurocs = torch.stack(
            [
                _aurocs(normal, self._normality([[start, *line, end][:most] for line in strange]))
                for strange in made.values()
            ]
        ).mean(0)
        best = int(aurocs.argmax())
        self.scores.default = best if aurocs[best] > aurocs[-1] + CLEARLY else len(STATISTICS)
        self.found = {name: round(float(value), 4) for name, value in zip(NAMES, aurocs, strict=True)}
        return {f"auroc_of_pseudo_lines_by_{name}": value for name, value in self.found.items()}

    def _statistics(self, lines: list[list[int]]) -> Tensor:
        return torch.cat([self.scores.statistics(*batch)[0] for batch in _padded(lines)])

    def _normality(self, lines: list[list[int]]) -> Tensor:
        return torch.cat([self.scores(*batch)[0] for batch in _padded(lines)])

    def graphs(self) -> list[GraphExport]:
        return [
            GraphExport(
                capability=Capability.SCORE,
                module=self.scores,
                example={"input_ids": torch.zeros(2, 9, dtype=torch.int64), "lengths": torch.tensor([9, 5])},
                outputs=("normality", "surprise"),
                dynamic_shapes={"input_ids": {0: "batch", 1: "tokens"}, "lengths": {0: "batch"}},
                inputs=self._windows,
                tolerance=2e-3,
            )
        ]

    def _windows(self, batch: Batch) -> dict[str, Tensor]:
        """Of each line what the context holds."""
        most = self.config.context + 1
        return {"input_ids": batch["input_ids"][:, :most], "lengths": batch["lengths"].clamp(max=most)}

    def manifest_parts(self) -> dict[str, Any]:
        default = NAMES[self.scores.default]
        best = max(self.found, key=lambda name: self.found[name], default=default)
        chosen_by = (
            f"mean AUROC {self.found.get(default)} of held-out lines against lines made of them, the best being {best} with "
            f"{self.found.get(best)}; combined unless another is better by {CLEARLY}"
        )
        return {"scoring": Scoring(statistics=NAMES, default=default, chosen_by=chosen_by)}


def _padded(lines: list[list[int]]) -> Iterable[tuple[Tensor, Tensor]]:
    """Rows of tokens as input_ids (B, T) and lengths (B,), some at once."""
    for at in range(0, len(lines), AT_ONCE):
        some = lines[at : at + AT_ONCE]
        lengths = torch.tensor([len(line) for line in some])
        width = int(lengths.max())
        yield torch.tensor([[*line, *[0] * (width - len(line))] for line in some]), lengths


def _aurocs(normal: Tensor, strange: Tensor) -> Tensor:
    """Of each column of scores (n, N) and (m, N), (N,)."""
    is_normal = torch.cat([torch.ones(len(normal)), torch.zeros(len(strange))])
    return torch.tensor([roc_auc_score(is_normal, column) for column in torch.cat([normal, strange]).T])


FAMILY: type[Family] = LineScores
