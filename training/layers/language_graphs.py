"""A language model's two graphs: the next token with a key/value cache, and the log-density of a whole text.

`model` is anything with GPT's `embedding`, `blocks`, `logits`, `cos`, `sin` and `config`.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.family import Batch
from training.layers.transformer import rms_norm


def cache_names(layer: int, side: str) -> tuple[str, str]:
    return f"{side}.{layer}.key", f"{side}.{layer}.value"


def ragged(batch: Batch) -> dict[str, Tensor]:
    """Rows of different lengths, the first one whole."""
    input_ids = batch["input_ids"]
    rows, tokens = input_ids.shape
    return {"input_ids": input_ids, "lengths": (tokens - torch.arange(rows) % (tokens - 1)).clamp(min=2)}


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
        x = rms_norm(model.embedding(input_ids))
        for i, block in enumerate(model.blocks):
            q, k, v = block.attention.project(rms_norm(x))
            qkv = torch.cat([q, k, v], dim=-2).flatten(-2)  # (B, T, (H + 2 H_kv) E)
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
        tokens = input_ids.shape[1]
        last = (seqlens_k.long() - (total.long() - tokens)).clamp(0, tokens - 1)  # the row's last token that counts
        x = x.gather(1, last[:, None, None].expand(-1, 1, x.shape[-1]))[:, 0]  # (B, W)
        return model.logits(x), *present

    def inputs(self, batch: Batch) -> dict[str, Tensor]:
        """Ragged prompts, padded on the right, on an empty cache."""
        rows = ragged({"input_ids": batch["input_ids"][:, : self.model.config.context]})
        attention = self.model.blocks[0].attention
        empty = torch.zeros(len(rows["lengths"]), attention.kv_heads, self.model.config.context, attention.size)
        names = [name for i in range(self.model.config.layers) for name in cache_names(i, "past_key_values")]
        return {
            "input_ids": rows["input_ids"],
            "seqlens_k": (rows["lengths"] - 1).int(),
            "total_sequence_length": rows["lengths"].max().int(),
            **{name: empty.clone() for name in names},
        }

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """One token for each row, on top of pasts of different lengths: what a server batches."""
        inputs = self.inputs(batch)
        generator = torch.Generator().manual_seed(0)
        for name, tensor in inputs.items():
            if name.startswith("past_key_values"):
                tensor.normal_(generator=generator)
        return inputs | {"input_ids": inputs["input_ids"][:, :1]}

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
