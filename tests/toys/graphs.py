"""ONNX graphs of toy models, built node by node with seeded weights: no torch, a few kilobytes each."""

import math
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from contract import TensorSpec

OPSET = 18
_PROTO = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "int32": TensorProto.INT32}


class Builder:
    """Collects nodes and weights; calling it adds a node and returns the names of its outputs."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, array: np.ndarray, name: str = "") -> str:
        name = name or f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def __call__(self, op: str, *inputs: str, out: str | Sequence[str] = "", **attributes: object) -> str:
        names = [out] if isinstance(out, str) else list(out)
        names[0] = names[0] or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, names, **attributes))
        return names[0]

    def model(self, name: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, name, _ports(inputs), _ports(outputs), self.weights)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def _ports(specs: Sequence[TensorSpec]) -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info(s.name, _PROTO[s.dtype], s.shape) for s in specs]


def spec(name: str, dtype: str, *shape: int | str) -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape)


Parts = tuple[onnx.ModelProto, tuple[TensorSpec, ...], tuple[TensorSpec, ...]]


def _finish(builder: Builder, name: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Parts:
    return builder.model(name, inputs, outputs), tuple(inputs), tuple(outputs)


def decode(latent: int = 4, side: int = 8, classes: int = 10, seed: int = 0) -> Parts:
    """x = sigmoid(z W + e[label]) as an image (B, 1, side, side)."""
    rng = np.random.default_rng(seed)
    b = Builder()
    mixed = b("MatMul", "z", b.weight(rng.normal(size=(latent, side * side)).astype(np.float32)))
    inputs = [spec("z", "float32", "batch", latent)]
    if classes:
        table = b.weight(rng.normal(size=(classes, side * side)).astype(np.float32))
        mixed = b("Add", mixed, b("Gather", table, "label"))
        inputs.append(spec("label", "int64", "batch"))
    flat = b("Sigmoid", mixed)
    b("Reshape", flat, b.weight(np.array([-1, 1, side, side], np.int64)), out="x")
    return _finish(b, "decode", inputs, [spec("x", "float32", "batch", 1, side, side)])


def reconstruct() -> Parts:
    """x_hat = (1 - w) x + w blur(x), w = 4 sigma, or 0.5 where sigma is negative: unknown.

    The trip through SpaceToDepth changes nothing, but fails on odd sides: they must be multiples of 2.
    """
    b = Builder()
    packed = b("SpaceToDepth", "x", blocksize=2)
    x = b("DepthToSpace", packed, blocksize=2)
    blur = b("Conv", x, b.weight(np.full((1, 1, 3, 3), 1 / 9, np.float32)), pads=[1, 1, 1, 1])
    unknown = b("Less", "sigma", b.weight(np.float32(0)))
    known_weight = b("Mul", "sigma", b.weight(np.float32(4)))
    weight = b("Where", unknown, b.weight(np.float32(0.5)), known_weight)
    weight = b("Reshape", weight, b.weight(np.array([-1, 1, 1, 1], np.int64)))
    b("Add", x, b("Mul", weight, b("Sub", blur, x)), out="x_hat")
    inputs = [spec("x", "float32", "batch", 1, "height", "width"), spec("sigma", "float32", "batch")]
    return _finish(b, "reconstruct", inputs, [spec("x_hat", "float32", "batch", 1, "height", "width")])


def convolved(kernel: np.ndarray, factor: int = 1, sides: tuple[int | str, int | str] = (8, 8)) -> Parts:
    """x_hat = x convolved with kernel (factor² C', C, k, k), with every `factor`² channels laid out as a larger image.

    x (B, C, H, W) -> (B, C', factor H, factor W)
    """
    b = Builder()
    pad = kernel.shape[-1] // 2
    mixed = b("Conv", "x", b.weight(kernel.astype(np.float32)), pads=[pad] * 4, out="" if factor > 1 else "x_hat")
    if factor > 1:
        b("DepthToSpace", mixed, blocksize=factor, out="x_hat")
    larger = [f"{factor}{side}" if isinstance(side, str) else factor * side for side in sides]
    outputs = [spec("x_hat", "float32", "batch", len(kernel) // factor**2, *larger)]
    return _finish(b, "convolved", [spec("x", "float32", "batch", kernel.shape[1], *sides)], outputs)


GAUSSIAN_MEAN, GAUSSIAN_STD = 0.5, 0.1


def class_means(classes: int, side: int) -> np.ndarray:
    """The mean image of each class, and of all as the last. (classes + 1, 1, side, side) float32."""
    means = np.random.default_rng(3).uniform(0.2, 0.8, (classes, 1, side, side)).astype(np.float32)
    return np.concatenate([means, means.mean(axis=0, keepdims=True)])


def denoise_step(side: int = 8, classes: int = 10) -> Parts:
    """D(x; sigma) of independent normal pixels about the class's mean: m + s²/(s² + sigma²) (x - m)."""
    b = Builder()
    mean = b("Gather", b.weight(class_means(classes, side)), "label")  # (B, 1, side, side)
    level = b("Reshape", "sigma", b.weight(np.array([-1, 1, 1, 1], np.int64)))
    variance = b.weight(np.float32(GAUSSIAN_STD**2))
    share = b("Div", variance, b("Add", variance, b("Mul", level, level)))
    b("Add", mean, b("Mul", share, b("Sub", "x_t", mean)), out="x0")
    sample = ("batch", 1, side, side)
    inputs = [spec("x_t", "float32", *sample), spec("sigma", "float32", "batch"), spec("label", "int64", "batch")]
    return _finish(b, "denoise_step", inputs, [spec("x0", "float32", *sample)])


def gaussian_log_prob(samples: np.ndarray) -> np.ndarray:
    """What `gaussian` computes, in float64. samples (N, …) -> (N,) nats."""
    flat = samples.reshape(len(samples), -1).astype(np.float64)
    squares = (((flat - GAUSSIAN_MEAN) / GAUSSIAN_STD) ** 2).sum(-1)
    return -0.5 * squares - flat.shape[1] * (math.log(GAUSSIAN_STD) + 0.5 * math.log(2 * math.pi))


def gaussian(shape: tuple[int, ...]) -> Parts:
    """Log-density of independent normal numbers. x (B, *shape) -> log_prob (B,)."""
    size = math.prod(shape)
    b = Builder()
    flat = b("Reshape", "x", b.weight(np.array([-1, size], np.int64)))
    centred = b("Sub", flat, b.weight(np.float32(GAUSSIAN_MEAN)))
    scaled = b("Div", centred, b.weight(np.float32(GAUSSIAN_STD)))
    summed = b("MatMul", b("Mul", scaled, scaled), b.weight(np.full((size, 1), -0.5, np.float32)))
    constant = -size * (math.log(GAUSSIAN_STD) + 0.5 * math.log(2 * math.pi))
    shifted = b("Add", summed, b.weight(np.float32(constant)))
    b("Reshape", shifted, b.weight(np.array([-1], np.int64)), out="log_prob")
    return _finish(b, "gaussian", [spec("x", "float32", "batch", *shape)], [spec("log_prob", "float32", "batch")])


def normality_of(samples: np.ndarray) -> np.ndarray:
    """What `scores` computes, in float64. samples (N, …) -> (N, 2): log_prob, and minus the largest value's distance."""
    flat = samples.reshape(len(samples), -1).astype(np.float64)
    return np.stack([gaussian_log_prob(samples), -np.abs(flat - GAUSSIAN_MEAN).max(-1)], axis=1)


def scores(shape: tuple[int, ...]) -> Parts:
    """x (B, *shape) -> normality (B, 2): log_prob, farthest; surprise (B, *shape): each value's squared distance."""
    size = math.prod(shape)
    b = Builder()
    distance = b(
        "Sub", b("Reshape", "x", b.weight(np.array([-1, size], np.int64))), b.weight(np.float32(GAUSSIAN_MEAN))
    )
    scaled = b("Div", distance, b.weight(np.float32(GAUSSIAN_STD)))
    squares = b("Mul", scaled, scaled)
    constant = -size * (math.log(GAUSSIAN_STD) + 0.5 * math.log(2 * math.pi))
    summed = b("MatMul", squares, b.weight(np.full((size, 1), -0.5, np.float32)))
    log_prob = b("Add", summed, b.weight(np.float32(constant)))
    farthest = b("Neg", b("ReduceMax", b("Abs", distance), b.weight(np.array([1])), keepdims=1))
    b("Concat", log_prob, farthest, axis=1, out="normality")
    b("Reshape", squares, b.weight(np.array([-1, *shape], np.int64)), out="surprise")
    outputs = [spec("normality", "float32", "batch", 2), spec("surprise", "float32", "batch", *shape)]
    return _finish(b, "scores", [spec("x", "float32", "batch", *shape)], outputs)


def encoder_weights(size: int, width: int = 6) -> np.ndarray:
    """What `encode` multiplies with. (size, width) float32."""
    return np.random.default_rng(size).normal(size=(size, width)).astype(np.float32)


def encode(shape: tuple[int, ...]) -> Parts:
    """embedding = x W. x (B, *shape) -> (B, 6)."""
    size = math.prod(shape)
    weights = encoder_weights(size)
    b = Builder()
    flat = b("Reshape", "x", b.weight(np.array([-1, size], np.int64)))
    b("MatMul", flat, b.weight(weights), out="embedding")
    outputs = [spec("embedding", "float32", "batch", weights.shape[1])]
    return _finish(b, "encode", [spec("x", "float32", "batch", *shape)], outputs)


def affine(size: int) -> tuple[np.ndarray, np.ndarray]:
    """What `affine_decode` multiplies with, (size, size), and adds, (size,); float32."""
    rng = np.random.default_rng(size)
    return (np.eye(size) + 0.2 * rng.normal(size=(size, size))).astype(np.float32), np.full(size, 0.5, np.float32)


def affine_decode(size: int) -> Parts:
    """x = z A + m, rows of a table. z (B, size) -> (B, size)."""
    matrix, mean = affine(size)
    b = Builder()
    b("Add", b("MatMul", "z", b.weight(matrix)), b.weight(mean), out="x")
    return _finish(b, "decode", [spec("z", "float32", "batch", size)], [spec("x", "float32", "batch", size)])


def affine_encode(size: int) -> Parts:
    """What undoes `affine_decode`."""
    matrix, mean = affine(size)
    inverse = np.linalg.inv(matrix.astype(np.float64)).astype(np.float32)
    b = Builder()
    b("MatMul", b("Sub", "x", b.weight(mean)), b.weight(inverse), out="embedding")
    outputs = [spec("embedding", "float32", "batch", size)]
    return _finish(b, "encode", [spec("x", "float32", "batch", size)], outputs)


def text_encode(vocabulary: int) -> Parts:
    """embedding = the sum of W[token] over a row's tokens that count. -> (B, 6)."""
    weights = encoder_weights(vocabulary)
    b = Builder()
    one, axis = b.weight(np.int64(1)), b.weight(np.array([1]))
    places = b("Range", b.weight(np.int64(0)), b("Gather", b("Shape", "input_ids"), one), one)  # (T,)
    counts = b("Less", places, b("Unsqueeze", "lengths", axis))  # (B, T)
    mask = b("Unsqueeze", b("Cast", counts, to=TensorProto.FLOAT), axis)  # (B, 1, T)
    summed = b("MatMul", mask, b("Gather", b.weight(weights), "input_ids"))  # (B, 1, 6)
    b("Squeeze", summed, axis, out="embedding")
    inputs = [spec("input_ids", "int64", "batch", "tokens"), spec("lengths", "int64", "batch")]
    return _finish(b, "text_encode", inputs, [spec("embedding", "float32", "batch", weights.shape[1])])


def bigram_logits(vocabulary: int) -> np.ndarray:
    """The table of `bigram`: row t are the logits of the token after t. (V, V) float32."""
    return np.random.default_rng(vocabulary).normal(size=(vocabulary, vocabulary)).astype(np.float32)


def bigram(vocabulary: int) -> Parts:
    """logits = table[last token]: a `next_token` that needs no past, and so has no keys and values."""
    b = Builder()
    last = b("Gather", "input_ids", b.weight(np.int64(-1)), axis=1)  # (B,)
    b("Gather", b.weight(bigram_logits(vocabulary)), last, out="logits")
    inputs = [
        spec("input_ids", "int64", "batch", "tokens"),
        spec("seqlens_k", "int32", "batch"),
        spec("total_sequence_length", "int32"),
    ]
    return _finish(b, "bigram", inputs, [spec("logits", "float32", "batch", vocabulary)])


def uneven(width: int) -> Parts:
    """log_prob = sum of x over rows of odd length: the bits of a row depend on its place in the batch on a CPU."""
    b = Builder()
    b("ReduceSum", "x", b.weight(np.array([1], np.int64)), keepdims=0, out="log_prob")
    return _finish(b, "uneven", [spec("x", "float32", "batch", width)], [spec("log_prob", "float32", "batch")])


class Language:
    """A random transformer with rotary positions: the weights that its two graphs share.

    It chooses among the first `choices` tokens: a start token may be one that is never chosen.
    """

    def __init__(
        self, vocabulary: int, context: int, layers: int = 2, seed: int = 0, choices: int | None = None
    ) -> None:
        self.vocabulary, self.context, self.layers = vocabulary, context, layers
        self.choices = choices or vocabulary
        self.heads, self.kv_heads, self.size = 2, 1, 16
        self.width = self.heads * self.size
        rng = np.random.default_rng(seed)

        def normal(*shape: int, std: float) -> np.ndarray:
            return (rng.normal(size=shape) * std).astype(np.float32)

        projected = (self.heads + 2 * self.kv_heads) * self.size
        self.embedding = normal(vocabulary, self.width, std=1.0)
        self.qkv = [normal(self.width, projected, std=0.25) for _ in range(layers)]
        self.out = [normal(self.width, self.width, std=0.1) for _ in range(layers)]
        self.head = normal(self.width, self.choices, std=0.25)
        rate = 100.0 ** -(np.arange(self.size // 2) / (self.size // 2))
        angle = np.arange(context)[:, None] * rate[None]  # (context, size / 2)
        self.cos, self.sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)

    def body(self, b: Builder, ids: str, seqlens: str, total: str, cached: bool) -> str:
        """Hidden states (B, T, W) of the tokens `ids`, after all layers."""
        x = b("Gather", b.weight(self.embedding), ids)
        cos, sin = b.weight(self.cos), b.weight(self.sin)
        for i in range(self.layers):
            qkv = b("MatMul", x, b.weight(self.qkv[i]))
            past = [f"past_key_values.{i}.key", f"past_key_values.{i}.value"] if cached else ["", ""]
            present = [f"present.{i}.key", f"present.{i}.value"]
            attended = b(
                "GroupQueryAttention",
                *(qkv, "", "", *past, seqlens, total, cos, sin),
                out=["", *present],
                domain="com.microsoft",
                num_heads=self.heads,
                kv_num_heads=self.kv_heads,
                do_rotary=1,
                rotary_interleaved=0,
            )
            x = b("Add", x, b("MatMul", attended, b.weight(self.out[i])))
        return x


def next_token(language: Language) -> Parts:
    """Logits of the last token, with keys and values appended to a buffer that past and present share."""
    b = Builder()
    x = language.body(b, "input_ids", "seqlens_k", "total_sequence_length", cached=True)
    tokens = b("Gather", b("Shape", "input_ids"), b.weight(np.int64(1)))
    total = b("Cast", "total_sequence_length", to=TensorProto.INT64)
    seqlens = b("Cast", "seqlens_k", to=TensorProto.INT64)
    last = b("Sub", seqlens, b("Sub", total, tokens))  # (B,), the row's last token that counts
    last = b("Max", last, b.weight(np.array([0])))  # a row that takes a step beside longer ones has one token only
    last = b("Unsqueeze", b("Unsqueeze", last, b.weight(np.array([1]))), b.weight(np.array([2])))
    width = b.weight(np.array([1, 1, language.width]))
    hidden = b("GatherElements", x, b("Expand", last, width), axis=1)  # (B, 1, W)
    hidden = b("Squeeze", hidden, b.weight(np.array([1])))
    b("MatMul", hidden, b.weight(language.head), out="logits")
    cache = ("batch", language.kv_heads, "cache", language.size)
    names = [f"{i}.{kind}" for i in range(language.layers) for kind in ("key", "value")]
    inputs = [
        spec("input_ids", "int64", "batch", "tokens"),
        spec("seqlens_k", "int32", "batch"),
        spec("total_sequence_length", "int32"),
        *(spec(f"past_key_values.{name}", "float32", *cache) for name in names),
    ]
    outputs = [spec("logits", "float32", "batch", language.choices)]
    outputs += [spec(f"present.{name}", "float32", *cache) for name in names]
    return _finish(b, "next_token", inputs, outputs)


def times_rows(proto: onnx.ModelProto) -> None:
    """Multiply a text graph's logits by the number of rows in the batch, so that nobody may share one."""
    last = next(node for node in proto.graph.node if "logits" in node.output)
    last.output[:] = ["own logits" if name == "logits" else name for name in last.output]
    nodes = (
        helper.make_node("Shape", ["input_ids"], ["rows"], start=0, end=1),
        helper.make_node("Cast", ["rows"], ["times"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["own logits", "times"], ["logits"]),
    )
    proto.graph.node.extend(nodes)


def text_log_density(language: Language) -> Parts:
    """The same model's log-probability of whole rows: the first token is given, padding counts nothing."""
    b = Builder()
    _log_probs(b, language)
    inputs = [spec("input_ids", "int64", "batch", "tokens"), spec("lengths", "int64", "batch")]
    outputs = [spec("log_prob", "float32", "batch"), spec("log_prob_map", "float32", "batch", "tokens")]
    return _finish(b, "text_log_density", inputs, outputs)


def text_scores(language: Language) -> Parts:
    """The same as normality (B, 2): log_prob, and the least log-probability of a token; surprise (B, T)."""
    b = Builder()
    _log_probs(b, language)
    axis = b.weight(np.array([1]))
    # In float64: the last bits of a float32 sum depend on the number of rows.
    whole = b("Cast", b("ReduceSum", b("Cast", "log_prob_map", to=TensorProto.DOUBLE), axis), to=TensorProto.FLOAT)
    b("Concat", whole, b("ReduceMin", "log_prob_map", axis), axis=1, out="normality")
    b("Neg", "log_prob_map", out="surprise")
    inputs = [spec("input_ids", "int64", "batch", "tokens"), spec("lengths", "int64", "batch")]
    outputs = [spec("normality", "float32", "batch", 2), spec("surprise", "float32", "batch", "tokens")]
    return _finish(b, "text_scores", inputs, outputs)


def _log_probs(b: Builder, language: Language) -> None:
    """The values log_prob (B,) and log_prob_map (B, T) of input_ids and lengths."""
    shape = b("Shape", "input_ids")
    count = b("Gather", shape, b.weight(np.int64(1)))
    one, first, axis = b.weight(np.int64(1)), b.weight(np.array([0])), b.weight(np.array([1]))
    fed = b("Sub", count, one)
    given = b("Slice", "input_ids", first, b.weight(np.array([-1])), axis)  # (B, T - 1)
    targets = b("Slice", "input_ids", axis, b.weight(np.array([2**31])), axis)
    total = b("Cast", fed, to=TensorProto.INT32)
    batch = b("Gather", shape, first)
    seqlens = b("Expand", b("Cast", b("Sub", fed, one), to=TensorProto.INT32), batch)
    x = language.body(b, given, seqlens, total, cached=False)
    every = b("LogSoftmax", b("MatMul", x, b.weight(language.head)), axis=-1)  # (B, T - 1, V)
    last_axis = b.weight(np.array([2]))
    chosen = b("Squeeze", b("GatherElements", every, b("Unsqueeze", targets, last_axis), axis=2), last_axis)
    places = b("Unsqueeze", b("Range", one, count, one), first)  # (1, T - 1)
    counts = b("Less", places, b("Unsqueeze", "lengths", axis))
    kept = b("Where", counts, chosen, b.weight(np.float32(0)))
    b("Pad", kept, b.weight(np.array([0, 1, 0, 0])), b.weight(np.float32(0)), out="log_prob_map")  # (B, T)
    ones = b("Expand", b.weight(np.ones((1, 1), np.float32)), b("Concat", b("Unsqueeze", count, first), axis, axis=0))
    b("Squeeze", b("MatMul", "log_prob_map", ones), axis, out="log_prob")  # a product: see `uneven`
