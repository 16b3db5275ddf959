"""Character-level GPT: a causal transformer over token ids, (B, T) -> logits (B, T, V).

nanoGPT (Karpathy, 2022) with the changes that pay on little data: rotary positions (Su et al., arXiv:2104.09864),
RMSNorm without gain, query-key norm (Henry et al., arXiv:2010.04245), squared ReLU (So et al., arXiv:2109.08668),
one or few key/value heads (Ainslie et al., arXiv:2305.13245), no biases, zero-initialised output projections, and Muon
for the matrices (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon).
"""

from collections.abc import Iterable
from typing import Self

import torch
import torch.nn.functional as F
from pydantic import model_validator
from torch import Tensor, nn

from contract import Capability
from training.family import Batch, DataSummary, Family, Frozen, GraphExport, OptimizerConfig
from training.layers.language_graphs import Encode, LogDensity, NextToken, next_token_export, ragged
from training.layers.transformer import Block, optimizers, rms_norm, rotary_tables


class GPT(Family):
    """Token ids (B, T) to logits (B, T, V), float32."""

    cos: Tensor
    sin: Tensor
    temperature: Tensor

    class Config(Frozen):
        layers: int = 6
        width: int = 160
        heads: int = 5
        kv_heads: int = 1
        context: int = 256
        dropout: float = 0.0

        @model_validator(mode="after")
        def _divides(self) -> Self:
            if self.width % (16 * self.heads) or self.heads % self.kv_heads:
                raise ValueError(
                    f"width {self.width} must be a multiple of 16 * heads, and heads {self.heads} of kv_heads"
                )
            return self

    def __init__(self, config: Config, data: DataSummary):
        super().__init__(config, data)
        self.embedding = nn.Embedding(data.vocabulary, config.width)
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, config.kv_heads, config.dropout) for _ in range(config.layers)
        )
        self.head = nn.Linear(config.width, data.vocabulary, bias=False)
        self.dropout = nn.Dropout(config.dropout)
        nn.init.zeros_(self.head.weight)
        cos, sin = rotary_tables(config.context, config.width // config.heads)
        self.register_buffer("temperature", torch.ones(()), persistent=False)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.logits(self.states(input_ids, len(self.blocks)))

    def states(self, input_ids: Tensor, depth: int) -> Tensor:
        """After so many blocks, (B, T, W)."""
        cos, sin = self.cos[: input_ids.shape[1]], self.sin[: input_ids.shape[1]]
        x = self.dropout(rms_norm(self.embedding(input_ids)))  # (B, T, W)
        for block in self.blocks[:depth]:
            x = block(x, cos, sin)
        return x

    def logits(self, x: Tensor) -> Tensor:
        return self.head(rms_norm(x)).float() / self.temperature  # (…, W) -> (…, V)

    @torch.no_grad()
    def fit(self, held_out: Iterable[Batch]) -> dict[str, float]:
        """The temperature of the logits (Guo et al., arXiv:1706.04599): a model that has seen its text several times is
        too sure of itself on text that it has not."""
        seen = [(self(batch["input_ids"][:, :-1]), batch["input_ids"][:, 1:]) for batch in held_out]

        def loss(temperature: float) -> float:
            parts = (F.cross_entropy((z / temperature).flatten(0, 1), y.flatten(), reduction="sum") for z, y in seen)
            return float(sum(parts))

        best = min((step / 100 for step in range(80, 201)), key=loss)
        self.temperature.fill_(best)
        return {"temperature": best}

    def optimizers(self, player: str, settings: OptimizerConfig) -> list[torch.optim.Optimizer]:
        """Muon for the blocks' matrices, AdamW for embedding, head and gains; AdamW for all where Muon's rate is 0."""
        if not settings.muon_learning_rate:
            return super().optimizers(player, settings)
        return optimizers(self.blocks, self.parameters_of(player), settings)

    def loss(self, player: str, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        tokens = batch["input_ids"]  # (B, context + 1)
        return F.cross_entropy(self(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten()), {}

    def validation(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        return {"loss": self.loss("model", batch, generator)[0]}

    def graphs(self) -> list[GraphExport]:
        return [
            next_token_export(NextToken(self), {"input_ids": torch.zeros(2, 5, dtype=torch.int64)}),
            GraphExport(
                Capability.LOG_DENSITY,
                LogDensity(self),
                example=ragged({"input_ids": torch.zeros(2, 9, dtype=torch.int64)}),
                outputs=("log_prob", "log_prob_map"),
                dynamic_shapes={"input_ids": {0: "batch", 1: "tokens"}, "lengths": {0: "batch"}},
                inputs=ragged,
                density="exact",
                tolerance=1e-3,
            ),
            GraphExport(
                Capability.ENCODE,
                Encode(self),
                example=ragged({"input_ids": torch.zeros(2, 9, dtype=torch.int64)}),
                outputs=("embedding",),
                dynamic_shapes={"input_ids": {0: "batch", 1: "tokens"}, "lengths": {0: "batch"}},
                inputs=lambda batch: ragged(
                    {"input_ids": batch["input_ids"][:, :-1]}
                ),  # a window is one longer than the context
                tolerance=1e-4,
            ),
        ]


FAMILY: type[Family] = GPT
