"""The toy language model as Hugging Face Optimum would export it: caches by concatenation, a mask, positions, and logits of
every token, a few more of them than there are tokens.
"""

import numpy as np
from onnx import TensorProto

from tests.toys.graphs import Builder, Language, Parts, spec

PADDED = 3
"""Logits that belong to no token, and are higher than all others."""


def next_token(language: Language, positions: bool = True) -> Parts:
    """input_ids, attention_mask, [position_ids], past -> logits (B, T, V + 3), present."""
    b = Builder()

    def at(*places: int) -> str:
        return b.weight(np.array(places, np.int64))

    def split(x: str, axis: int, *sizes: int) -> list[str]:
        names = [f"part{len(b.nodes)}.{i}" for i in range(len(sizes))]
        b("Split", x, at(*sizes), axis=axis, out=names)
        return names

    size, kv = language.size, language.kv_heads
    whole, new = (b("Slice", b("Shape", name), at(1), at(2)) for name in ("attention_mask", "input_ids"))  # P + T, T
    keys = b("Range", b.weight(np.int64(0)), b("Squeeze", whole), b.weight(np.int64(1)))
    queries = b("Slice", keys, b("Sub", whole, new), whole)
    causal = b("LessOrEqual", b("Unsqueeze", keys, at(0)), b("Unsqueeze", queries, at(1)))  # (T, P + T)
    counts = b("Unsqueeze", b("Cast", "attention_mask", to=TensorProto.BOOL), at(1, 2))
    bias = b("Where", b("And", causal, counts), b.weight(np.float32(0)), b.weight(np.float32(-1e9)))
    if positions:
        places = "position_ids"
    else:
        summed = b("CumSum", "attention_mask", b.weight(np.int64(1)))
        counted = b("Max", b("Sub", summed, b.weight(np.int64(1))), b.weight(np.int64(0)))
        places = b("Slice", counted, b("Sub", whole, new), whole, at(1))
    cos, sin = (b("Unsqueeze", b("Gather", b.weight(t), places), at(1)) for t in (language.cos, language.sin))

    def heads(x: str, count: int) -> str:
        return b("Transpose", b("Reshape", x, at(0, 0, count, size)), perm=[0, 2, 1, 3])  # (B, H, T, E)

    def rotated(x: str) -> str:
        first, second = split(x, 3, size // 2, size // 2)
        left = b("Sub", b("Mul", first, cos), b("Mul", second, sin))
        right = b("Add", b("Mul", second, cos), b("Mul", first, sin))
        return b("Concat", left, right, axis=3)

    x = b("Gather", b.weight(language.embedding), "input_ids")  # (B, T, W)
    for i in range(language.layers):
        projected = b("MatMul", x, b.weight(language.qkv[i]))
        q, k, v = split(projected, 2, language.heads * size, kv * size, kv * size)
        key = b("Concat", f"past_key_values.{i}.key", rotated(heads(k, kv)), axis=2, out=f"present.{i}.key")
        value = b("Concat", f"past_key_values.{i}.value", heads(v, kv), axis=2, out=f"present.{i}.value")
        scores = b("MatMul", rotated(heads(q, language.heads)), b("Transpose", key, perm=[0, 1, 3, 2]))
        scores = b("Add", b("Mul", scores, b.weight(np.float32(size**-0.5))), bias)
        attended = b("Transpose", b("MatMul", b("Softmax", scores, axis=-1), value), perm=[0, 2, 1, 3])
        x = b("Add", x, b("MatMul", b("Reshape", attended, at(0, 0, -1)), b.weight(language.out[i])))
    logits = b("MatMul", x, b.weight(language.head))
    b("Pad", logits, at(0, 0, 0, 0, 0, PADDED), b.weight(np.float32(99)), out="logits")
    past, total = ("batch", kv, "past", size), ("batch", kv, "past + new", size)
    names = [f"{i}.{kind}" for i in range(language.layers) for kind in ("key", "value")]
    inputs = [
        spec("input_ids", "int64", "batch", "new"),
        spec("attention_mask", "int64", "batch", "past + new"),
        *([spec("position_ids", "int64", "batch", "new")] if positions else []),
        *(spec(f"past_key_values.{name}", "float32", *past) for name in names),
    ]
    outputs = [spec("logits", "float32", "batch", "new", language.choices + PADDED)]
    outputs += [spec(f"present.{name}", "float32", *total) for name in names]
    return b.model("optimum", inputs, outputs), tuple(inputs), tuple(outputs)
