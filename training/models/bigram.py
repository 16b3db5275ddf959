"""A bigram model of text: counts of token pairs, smoothed. The baseline that any other model of text has to beat.

Interpolated Kneser-Ney (Kneser and Ney 1995; Chen and Goodman 1999, https://doi.org/10.1006/csla.1999.0128). A pair
(v, w) was seen c times, v before n(v) tokens, N(v) kinds of them, w after N(w) kinds, and there are N kinds of pairs:

    p(w | v) = (max(c - d, 0) + d N(v) p(w)) / n(v),    p(w) = (max(N(w) - b, 0) + b |{w: N(w) > 0}| / V) / N

The discounts d and b are trained by leaving one out (Ney et al. 1994, https://doi.org/10.1006/csla.1994.1001): a pair of the
training text is predicted from the counts of all the others. Token ids (B, T) -> logits (B, T, V) = log p.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contract import Capability
from training.data.source import in_order
from training.family import Batch, DataSummary, Family, Frozen, GraphExport, Source
from training.layers.language_graphs import LastLogits, LogDensity, last_token, prompts, ragged

COUNTED = 4096  # windows at once


class Table(nn.Module):
    """Token ids (B, T) to log p of the tokens after them, (B, T, V)."""

    def __init__(self, table: Tensor):
        super().__init__()
        self.table = table

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.table[input_ids]


class NextToken(nn.Module):
    """The `next_token` graph, without a cache: the last token is all that counts."""

    def __init__(self, model: Table):
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, seqlens_k: Tensor, total: Tensor) -> Tensor:
        last = last_token(input_ids, seqlens_k, total)[:, None]
        return self.model(input_ids.gather(1, last))[:, 0]


class Bigram(Family):
    """Token ids (B, T) to logits (B, T, V), float32."""

    counts: Tensor

    def __init__(self, config: Frozen, data: DataSummary):
        super().__init__(config, data)
        if data.kind != "text":
            raise ValueError(f"data.dataset: expected a text, found {data.kind}s")
        self.discounts = nn.Parameter(torch.zeros(2))  # d and b, before the sigmoid
        self.register_buffer("counts", torch.zeros(data.vocabulary, data.vocabulary))

    @torch.no_grad()
    def prepare(self, train: Source) -> None:
        """Count the first pair of each window: a window begins at every token."""
        self.counts.zero_()
        for indices in in_order(train, COUNTED):
            pairs = train.at(indices)["input_ids"][:, :2]
            self.counts.index_put_(tuple(pairs.T), torch.ones(len(pairs)), accumulate=True)

    def log_probs(self) -> Tensor:
        """log p(w | v) at [v, w], (V, V)."""
        seen = (self.counts > 0).float()
        of_w = seen.sum(0)
        lower = self._lower(of_w, (of_w > 0).sum(), seen.sum())
        return self._interpolated(self.counts, self.counts.sum(1, keepdim=True), seen.sum(1, keepdim=True), lower)

    def left_out(self, v: Tensor, w: Tensor) -> Tensor:
        """log p(w | v) from the counts without this pair, (N,)."""
        seen, once = (self.counts > 0).float(), (self.counts[v, w] == 1).float()
        of_w = seen.sum(0)
        alone = once * (of_w[w] == 1)
        lower = self._lower(of_w[w] - once, (of_w > 0).sum() - alone, seen.sum() - once)
        return self._interpolated(self.counts[v, w] - 1, self.counts.sum(1)[v] - 1, seen.sum(1)[v] - once, lower)

    def _lower(self, kinds: Tensor, seen: Tensor, total: Tensor) -> Tensor:
        """p(w) from N(w), how many w there are, and N."""
        b = self.discounts[1].sigmoid()
        return ((kinds - b).clamp(min=0) + b * seen / len(self.counts)) / total

    def _interpolated(self, c: Tensor, n: Tensor, kinds: Tensor, lower: Tensor) -> Tensor:
        """log p(w | v) from c, n(v), N(v) and p(w)."""
        d = self.discounts[0].sigmoid()
        return torch.where(n > 0, ((c - d).clamp(min=0) + d * kinds * lower) / n.clamp(min=1), lower).log()

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.log_probs()[input_ids]

    def loss(self, player: str, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        tokens = batch["input_ids"]
        return -self.left_out(tokens[:, :-1].flatten(), tokens[:, 1:].flatten()).mean(), {}

    def validation(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        tokens = batch["input_ids"]
        return {"loss": F.nll_loss(self(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())}

    def graphs(self) -> list[GraphExport]:
        table = Table(self.log_probs().detach())
        tokens = {"input_ids": torch.zeros(2, 9, dtype=torch.int64)}
        return [
            GraphExport(
                Capability.NEXT_TOKEN,
                NextToken(table),
                example=prompts(tokens),
                outputs=("logits",),
                dynamic_shapes={"input_ids": {0: "batch", 1: "seq"}, "seqlens_k": {0: "batch"}},
                # A window is one longer than the context.
                inputs=lambda batch: prompts({"input_ids": batch["input_ids"][:, :-1]}),
                reference=LastLogits(table),
                tolerance=1e-5,
            ),
            GraphExport(
                Capability.LOG_DENSITY,
                LogDensity(table),
                example=ragged(tokens),
                outputs=("log_prob", "log_prob_map"),
                dynamic_shapes={"input_ids": {0: "batch", 1: "tokens"}, "lengths": {0: "batch"}},
                inputs=ragged,
                density="exact",
                tolerance=1e-3,
            ),
        ]


FAMILY: type[Family] = Bigram
