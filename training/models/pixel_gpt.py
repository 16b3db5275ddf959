"""GPT over pixels: a causal transformer over an image's grey levels, with their exact density.

Image GPT (Chen et al. 2020, https://proceedings.mlr.press/v119/chen20s.html) at 256 levels, p(x) = prod_t p(x_t | x_<t)
in reading order, on GPT's blocks and graphs. Three changes make it cheap enough for a CPU:

- A pixel's embedding sees the levels of the pixels around it that have been read (training/layers/reading_order.py),
  as the first layer of a PixelCNN does (van den Oord et al. 2016, arXiv:1601.06759): the closest ones each by a vector
  for each level, the others by a few knots. The graph with a cache finds them in the first layer's keys, which carry
  each token's level.
- Positions have rows and columns: learnt embeddings, and rotary angles of both.
- A pixel with black neighbours is hidden: it sees the others, but no other sees its key. So training can leave out
  most of them, and count the rest for more (`_chosen`): some 270 of MNIST's 784 positions are computed, and the
  expected loss is that of all.

log p is in nats per grey level: of the levels themselves, and so of their uniformly dequantised x over [0, 256)^D.
"""

import math
from typing import Annotated, Any, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from contract import Capability
from training.family import Batch, DataSummary, Family, Frozen, GraphExport, OptimizerConfig
from training.layers.language_graphs import LogDensity, NextToken, next_token_export
from training.layers.reading_order import NEAR, axial_tables, coordinates, hats, neighbours
from training.layers.transformer import Block, optimizers, rms_norm

COARSE = 32  # knots between which the logits' shared part is linear
SPARE = 24  # positions of a group's fullest image that are drawn at random
GROUPS = 4  # that a batch is trained in
VALIDATED = 8  # one image in so many is validated, for all positions of it are computed


class PixelDensity(nn.Module):
    """The `log_density` graph: x = k / (levels - 1), (B, C, H, W) -> log_prob (B,) and its map, by pixel."""

    def __init__(self, model: "PixelGPT"):
        super().__init__()
        self.model, self.density = model, LogDensity(model)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.model.tokens(x)  # (B, 1 + D)
        log_prob, parts = self.density(tokens, torch.full_like(tokens[:, 0], tokens.shape[1]))
        return log_prob, parts[:, 1:].reshape(x.shape)


class NextPixel(NextToken):
    """The `next_token` graph: the neighbours' levels are in the first layer's keys."""

    def embed(
        self, input_ids: Tensor, seqlens_k: Tensor, total: Tensor, past: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor]:
        tokens, half = input_ids.shape[1], past[0].shape[-1] // 2
        # Several tokens come at the same place in every row; one token, at the end of its own.
        first = torch.minimum(total.long() - tokens, seqlens_k.long())
        positions = first[:, None] + torch.arange(tokens)
        plane = past[0][:, 0, :, half - 1].scatter(1, positions, self.model.levels_of(input_ids))
        return self.model.embed(plane, input_ids, positions)

    def inputs(self, batch: Batch) -> dict[str, Tensor]:
        return super().inputs({"input_ids": self.model.tokens(batch["x"])})


class PixelGPT(Family):
    """Token ids (B, T), the start token before all, to logits (B, T, levels), float32."""

    hats: Tensor
    coarse: Tensor
    places: Tensor
    neighbours: Tensor
    cos: Tensor
    sin: Tensor

    class Config(Frozen):
        """`reach` is of the window of pixels that go into an embedding, in rows and columns; of `exact` of them, the closest
        ones behind the left one, every level has a vector of its own."""

        layers: int = 4
        width: int = 128
        heads: int = 4
        kv_heads: int = 1
        levels: Annotated[int, Field(ge=2, le=256)] = 256
        reach: Annotated[int, Field(ge=1)] = 6
        knots: Annotated[int, Field(ge=2)] = 8
        exact: Annotated[int, Field(ge=0)] = 0

        @property
        def start_token(self) -> int:
            return self.levels

        @model_validator(mode="after")
        def _divides(self) -> Self:
            if self.width % (16 * self.heads) or self.heads % self.kv_heads:
                raise ValueError(
                    f"width {self.width} must be a multiple of 16 * heads, and heads {self.heads} of kv_heads"
                )
            behind_left = 2 * self.reach * (self.reach + 1) - 1
            if self.exact > behind_left:
                raise ValueError(f"exact {self.exact}: a window of reach {self.reach} has {behind_left} at most")
            return self

    def __init__(self, config: Config, data: DataSummary):
        super().__init__(config, data)
        if data.kind != "image" or None in data.shape:
            raise ValueError(f"data.shape: expected images of one fixed size, found {data.shape or data.kind}")
        width = config.width
        table = neighbours(data.shape, config.reach)
        self.embedding = nn.Embedding(config.levels + 1, width)
        self.window = nn.Linear(table.shape[1] * config.knots, width, bias=False)
        self.of_level = nn.ModuleList(nn.Embedding(config.levels, width) for _ in range(config.exact))
        self.of_place = nn.ModuleList(nn.Embedding(side, width) for side in data.shape)
        self.blocks = nn.ModuleList(Block(width, config.heads, config.kv_heads, 0.0) for _ in range(config.layers))
        self.head = nn.Linear(width, config.levels, bias=False)
        self.coarse_head = nn.Linear(width, COARSE, bias=False)
        for of_level in self.of_level:
            nn.init.zeros_(of_level.weight)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.coarse_head.weight)
        cos, sin = axial_tables(data.shape, width // config.heads)
        self.register_buffer("hats", hats(config.levels, config.knots), persistent=False)
        self.register_buffer("coarse", hats(config.levels, COARSE), persistent=False)
        self.register_buffer("places", coordinates(data.shape), persistent=False)
        self.register_buffer("neighbours", table, persistent=False)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    @property
    def context(self) -> int:
        """Positions: one for each value of an image."""
        return math.prod(self.data.shape)

    def tokens(self, x: Tensor) -> Tensor:
        """Images in [0, 1] (B, C, H, W) -> the start token and the levels of all pixels, (B, 1 + D)."""
        levels = (x.flatten(1) * (self.config.levels - 1)).round().clamp(0, self.config.levels - 1).long()
        return F.pad(levels, (1, 0), value=self.config.start_token)

    def levels_of(self, input_ids: Tensor) -> Tensor:
        """Levels as numbers, float32; the start token is black."""
        return torch.where(input_ids == self.config.start_token, 0, input_ids).float()

    def embed(self, plane: Tensor, input_ids: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Of the tokens at these positions, (B, T) each, and the levels at all (B, D): what goes into the blocks
        (B, T, W), and their note (B, T, 2): the token's level, and whether it is hidden."""
        table = self.neighbours[positions]  # (B, T, K)
        window = plane.gather(1, table.flatten(1)).view(table.shape).long().clamp(0, self.config.levels - 1)
        x = self.embedding(input_ids) + self.window(F.embedding(window, self.hats).flatten(2))
        for embedding, level in zip(self.of_level, window[..., 1 : 1 + self.config.exact].unbind(-1), strict=True):
            x = x + embedding(level)
        for embedding, place in zip(self.of_place, self.places[positions].unbind(-1), strict=True):
            x = x + embedding(place)
        note = torch.stack([self.levels_of(input_ids), self.hidden(window, positions).float()], dim=-1)
        return rms_norm(x), note

    def hidden(self, window: Tensor, positions: Tensor) -> Tensor:
        """Where the nearest pixels are black. The start never is, so that there always is something to see."""
        return (window[..., :NEAR].sum(-1) == 0) & (positions > 0)

    def forward(self, input_ids: Tensor, positions: Tensor | None = None) -> Tensor:
        """Logits of the tokens after these; at `positions` (B, S) alone, ascending, where they are given."""
        if positions is None:
            positions = torch.arange(input_ids.shape[1], device=input_ids.device).expand(input_ids.shape)
        x, note = self.embed(self.levels_of(input_ids), input_ids.gather(1, positions), positions)
        cos, sin = self.cos[positions][:, None], self.sin[positions][:, None]  # (B, 1, S, E / 2)
        for block in self.blocks:
            x = block(x, cos, sin, note)
        return self.logits(x)

    def logits(self, x: Tensor) -> Tensor:
        """Those of the levels, and what a level shares with its neighbours: (…, W) -> (…, levels)."""
        x = rms_norm(x)
        return self.head(x).float() + self.coarse_head(x).float() @ self.coarse.T

    def _needed(self, tokens: Tensor) -> Tensor:
        """Positions (B, D) that others see, or that a pixel which is not black follows: where the bits are."""
        inputs, near = tokens[:, :-1], self.neighbours[:, :NEAR]
        window = self.levels_of(inputs)[:, near.flatten()].unflatten(1, near.shape)  # (B, D, NEAR)
        positions = torch.arange(inputs.shape[1], device=tokens.device).expand(inputs.shape)
        return ~self.hidden(window, positions) | (tokens[:, 1:] != 0)

    def _chosen(self, needed: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Positions to compute, ascending, and what each counts for, (B, S): all that are needed, and as many of the
        rest as fit, drawn at random, which count for all of the rest."""
        of_row, positions = needed.sum(1, keepdim=True), needed.shape[1]
        size = min(positions, int(of_row.max()) + SPARE)
        order = torch.rand(needed.shape, generator=generator, device=needed.device) + needed
        chosen = order.topk(size, dim=1).indices.sort(dim=1).values  # (B, S)
        count = (positions - of_row) / (size - of_row)
        return chosen, torch.where(needed.gather(1, chosen), 1.0, count)

    def loss(self, player: str, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Bits per dimension, unbiased."""
        tokens = self.tokens(batch["x"])
        needed, bits = self._needed(tokens), []
        # Images that need about as many positions go together.
        for rows in needed.sum(1).argsort().chunk(GROUPS):
            chosen, counts = self._chosen(needed[rows], generator)
            logits, targets = self(tokens[rows, :-1], chosen), tokens[rows, 1:].gather(1, chosen)
            nats = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
            bits.append((nats * counts.flatten()).sum())
        return torch.stack(bits).sum() / (needed.numel() * math.log(2)), {}

    def validation(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        tokens = self.tokens(batch["x"][::VALIDATED])
        nats = F.cross_entropy(self(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        return {"loss": nats / math.log(2)}

    def optimizers(self, player: str, settings: OptimizerConfig) -> list[torch.optim.Optimizer]:
        """Muon for the blocks' matrices, AdamW for the rest."""
        return optimizers(self.blocks, self.parameters_of(player), settings)

    def graphs(self) -> list[GraphExport]:
        x = torch.zeros(2, *self.data.shape)
        return [
            next_token_export(NextPixel(self), {"x": x}),
            GraphExport(
                Capability.LOG_DENSITY,
                PixelDensity(self),
                example={"x": x},
                outputs=("log_prob", "log_prob_map"),
                dynamic_shapes={"x": {0: "batch"}},
                inputs=lambda batch: {"x": batch["x"]},
                density="exact",
                tolerance=1e-3,
            ),
        ]

    def manifest_parts(self) -> dict[str, Any]:
        return {
            "pixels": {"levels": self.config.levels, "start_token": self.config.start_token},
            "sampling": {"temperature": 1.0},
        }


FAMILY: type[Family] = PixelGPT
