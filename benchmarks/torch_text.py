"""Our own text network in torch, with a key/value cache: the loop that one writes by hand.

    python -m benchmarks.torch_text <saved network> <threads>

A process for benchmarks.side: asked for `tokens` after a `prompt`, it takes the likeliest ones.
"""

import sys
import time

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.side import answer
from training.layers.transformer import rms_norm
from training.models.gpt import GPT


class Cached:
    """A GPT with its keys and values in memory that is taken once, (1, H_kv, context, E) for each layer and side."""

    def __init__(self, gpt: GPT):
        self.gpt, self.length = gpt, 0
        attention = gpt.blocks[0].attention
        shape = (1, attention.kv_heads, len(gpt.cos), attention.size)
        self.caches = [(torch.zeros(shape), torch.zeros(shape)) for _ in gpt.blocks]

    def append(self, input_ids: Tensor) -> Tensor:
        """Tokens (1, T) on top of what is there, T = 1 or nothing there. Returns the last one's logits (1, V)."""
        gpt, start, stop = self.gpt, self.length, self.length + input_ids.shape[1]
        cos, sin = gpt.cos[start:stop], gpt.sin[start:stop]
        x = rms_norm(gpt.embedding(input_ids))  # (1, T, W)
        for block, (keys, values) in zip(gpt.blocks, self.caches, strict=True):
            q, k, v = block.attention.rotated(rms_norm(x), cos, sin)  # (1, H, T, E), (1, H_kv, T, E) twice
            keys[:, :, start:stop] = k
            values[:, :, start:stop] = v
            y = _attention(q, keys[:, :, :stop], values[:, :, :stop])
            x = x + block.attention.out(y.transpose(1, 2).flatten(2))
            x = x + block.feed_forward(x)
        self.length = stop
        return gpt.logits(x[:, -1])


def _attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """(1, H, T, E) and (1, H_kv, S, E) twice to (1, H, T, E). One token's heads that share keys are as queries of one."""
    if q.shape[2] > 1:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    return F.scaled_dot_product_attention(q.reshape(1, k.shape[1], -1, k.shape[3]), k, v).reshape(q.shape)


@torch.inference_mode()
def greedy(gpt: GPT, prompt: list[int], tokens: int) -> list[int]:
    """The likeliest tokens after a prompt, one after another."""
    cached, written = Cached(gpt), []
    logits = cached.append(torch.tensor([prompt]))
    for step in range(tokens):
        token = logits.argmax(-1, keepdim=True)  # (1, 1)
        written.append(token)
        if step + 1 < tokens:
            logits = cached.append(token)
    return torch.cat(written, dim=1)[0].tolist()


def main() -> None:
    torch.set_num_threads(int(sys.argv[2]))
    gpt = torch.load(sys.argv[1], weights_only=False).eval()

    def run(prompt: list[int], tokens: int) -> dict:
        start = time.perf_counter()
        ids = greedy(gpt, prompt, tokens)
        return {"seconds": time.perf_counter() - start, "tokens": ids}

    answer(run)


if __name__ == "__main__":
    main()
