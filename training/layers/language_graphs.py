"""A language model's two graphs: the next token with a key/value cache, and the log-density of a whole text.

`model` is anything with GPT's `embedding`, `blocks`, `logits`, `cos` and `sin`, whose rows are the context's positions.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contract import Capability
from training.family import Batch, GraphExport
from training.layers.transformer import rms_norm


def cache_names(layer: int, side: str) -> tuple[str, str]:
    return f"{side}.{layer}.key", f"{side}.{layer}.value"


def ragged(batch: Batch) -> dict[str, Tensor]:
    """Rows of different lengths, the first one whole."""
    input_ids = batch["input_ids"]
    rows, tokens = input_ids.shape
    return {"input_ids": input_ids, "lengths": (tokens - torch.arange(rows) % (tokens - 1)).clamp(min=2)}


def prompts(batch: Batch) -> dict[str, Tensor]:
    """What `next_token` takes beside a cache, for ragged rows from their beginning."""
    rows = ragged(batch)
    return {
        "input_ids": rows["input_ids"],
        "seqlens_k": (rows["lengths"] - 1).int(),
        "total_sequence_length": rows["lengths"].max().int(),
    }


def last_token(input_ids: Tensor, seqlens_k: Tensor, total: Tensor) -> Tensor:
    """Of each row of (B, T), where its last token stands, (B,)."""
    tokens = input_ids.shape[1]
    return (seqlens_k.long() - (total.long() - tokens)).clamp(0, tokens - 1)


class LogDensity(nn.Module):
    """input_ids (B, T), lengths (B,) -> log_prob (B,), log_prob_map (B, T): the first token is given, padding is 0."""

    def __init__(self, model: Any):
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        targets = input_ids[:, 1:]
        log_prob = self.model(input_ids[:, :-1]).log_softmax(-1).gather(-1, targets[:, :, None])[:, :, 0]  # (B, T - 1)
        counts = torch.arange(1, targets.shape[1] + 1, device=input_ids.device)[None, :] < lengths[:, None]
        log_prob_map = F.pad(torch.where(counts, log_prob, 0.0), (1, 0))  # (B, T)
        # In float64, for the last bits of a float32 sum depend on the number of rows.
        return log_prob_map.double().sum(-1).float(), log_prob_map


class Encode(nn.Module):
    """input_ids (B, T), lengths (B,) -> embedding (B, W) of length 1: the mean of the tokens' normed states after the
    first half of the blocks, for the second half turns from what was said to the token that comes next."""

    def __init__(self, model: Any):
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        model = self.model
        states = rms_norm(model.states(input_ids, (len(model.blocks) + 1) // 2))  # (B, T, W)
        counts = torch.arange(input_ids.shape[1], device=input_ids.device)[None, :] < lengths[:, None]
        # A product of matrices, which rounds alike in any batch.
        total = (counts.to(states.dtype)[:, None] @ states)[:, 0]
        return total / (total * total @ total.new_ones(total.shape[1], 1)).sqrt()


class NextToken(nn.Module):
    """One step with a key/value cache, through ONNX Runtime's com.microsoft::GroupQueryAttention.

    The operator rotates queries and keys itself; our norm commutes with that, for it has no gain per dimension. New
    tokens go to positions `seqlens_k + 1 - T ...` of the cache. Rows may have different lengths when T = 1, and when
    the cache is empty (prompts padded on the right); several tokens on top of a past need a single row.
    """

    def __init__(self, model: Any):
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, seqlens_k: Tensor, total: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        model: Any = self.model
        present: list[Tensor] = []
        x, note = self.embed(input_ids, seqlens_k, total, past)
        for i, block in enumerate(model.blocks):
            qk, v = block.attention.project(rms_norm(x), note)
            qkv = torch.cat([qk, v], dim=-2).flatten(-2)  # (B, T, (H + 2 H_kv) E)
            key, value = past[2 * i], past[2 * i + 1]
            y, key, value = torch.onnx.ops.symbolic_multi_out(
                "com.microsoft::GroupQueryAttention",
                [qkv, None, None, key, value, seqlens_k, total, model.cos, model.sin],
                attrs={
                    "num_heads": block.attention.heads,
                    "kv_num_heads": block.attention.kv_heads,
                    "do_rotary": 1,
                    "rotary_interleaved": 0,
                },
                dtypes=(x.dtype, key.dtype, value.dtype),
                shapes=(x.shape, key.shape, value.shape),
                version=1,
            )
            x = x + block.attention.out(y)
            x = x + block.feed_forward(x)
            present += [key, value]
        last = last_token(input_ids, seqlens_k, total)
        x = x.gather(1, last[:, None, None].expand(-1, 1, x.shape[-1]))[:, 0]  # (B, W)
        return model.logits(x), *present

    def embed(
        self, input_ids: Tensor, seqlens_k: Tensor, total: Tensor, past: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor | None]:
        """What goes into the blocks, (B, T, W), and the note that goes with it."""
        return rms_norm(self.model.embedding(input_ids)), None

    def inputs(self, batch: Batch) -> dict[str, Tensor]:
        """Ragged prompts, padded on the right, on an empty cache."""
        context, attention = len(self.model.cos), self.model.blocks[0].attention
        empty = torch.zeros(len(batch["input_ids"]), attention.kv_heads, context, attention.size)
        return {
            **prompts({"input_ids": batch["input_ids"][:, :context]}),
            **{name: empty.clone() for name in self.names("past_key_values")},
        }

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """One token for each row, on top of pasts of different lengths: what a server batches."""
        inputs = self.inputs(batch)
        generator = torch.Generator().manual_seed(0)
        for name, tensor in inputs.items():
            if name.startswith("past_key_values"):
                tensor.normal_(generator=generator)
        return inputs | {"input_ids": inputs["input_ids"][:, :1]}

    def names(self, side: str) -> list[str]:
        return [name for i in range(len(self.model.blocks)) for name in cache_names(i, side)]

    @property
    def reference(self) -> nn.Module:
        return LastLogits(self.model)


class LastLogits(nn.Module):
    """The same logits from the whole text, without a cache: what NextToken is compared with."""

    def __init__(self, model: Any):
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, seqlens_k: Tensor, total: Tensor, *past: Tensor) -> Tensor:
        return self.model(input_ids)[torch.arange(len(input_ids)), seqlens_k.long()]


def next_token_export(step: NextToken, example: Batch) -> GraphExport:
    """How to write and check the graph; `example` is a batch such as `step.inputs` takes."""
    return GraphExport(
        Capability.NEXT_TOKEN,
        step,
        example=step.inputs(example),
        outputs=("logits", *step.names("present")),
        dynamic_shapes={
            "input_ids": {0: "batch", 1: "seq"},
            "seqlens_k": {0: "batch"},
            **{name: {0: "batch", 2: "cache"} for name in step.names("past_key_values")},
        },
        inputs=step.inputs,
        rows=step.step,
        reference=step.reference,
        compare=("logits",),
        tolerance=2e-4,
        opset=23,
    )
