"""Capabilities, and the one graph signature that each of them has.

A capability is something that a model can do; its signature fixes the names, dtypes and symbolic dimensions of the ONNX
graph that does it. `B` is the batch (always symbolic, always first), `*S` stands for the one or more dimensions of a
sample, `{i}` in a name stands for a layer number counted from 0.

| capability     | inputs -> outputs                                                                       |
|----------------|-----------------------------------------------------------------------------------------|
| `decode`       | latent z, [label] -> sample x                                                           |
| `encode`       | sample x, or input_ids with lengths -> embedding, [class logits]                        |
| `reconstruct`  | degraded x, [noise level sigma] -> x_hat, [uncertainty]                                 |
| `log_density`  | sample x, or input_ids with lengths -> log_prob in nats, [log_prob_map]                 |
| `score`        | sample x, or input_ids with lengths -> normality by each statistic, [surprise]          |
| `denoise_step` | x_t, sigma, [label] -> x0 (preconditioning inside)                                      |
| `next_token`   | input_ids, seqlens_k, total_sequence_length, [past_key_values.*] -> logits, [present.*] |

A model that needs no past (a bigram) has no layers: neither past_key_values nor present. A decoder as Hugging Face Optimum
exports it fits too: input_ids, attention_mask, [position_ids], past_key_values.* -> logits of every token, present.* with
the new keys and values behind the old ones.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

DType = Literal["float32", "float16", "bfloat16", "int64", "int32", "uint8", "bool"]
Dim = Annotated[int, Field(ge=0)] | Annotated[str, Field(min_length=1, max_length=64)]


class Capability(StrEnum):
    """Something that a model can do, with one graph for it."""

    DECODE = "decode"
    ENCODE = "encode"
    RECONSTRUCT = "reconstruct"
    LOG_DENSITY = "log_density"
    SCORE = "score"
    DENOISE_STEP = "denoise_step"
    NEXT_TOKEN = "next_token"


class TensorSpec(BaseModel):
    """A graph input or output as a model declares it: integers are fixed dimensions, strings symbolic ones."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=128)]
    dtype: DType
    shape: tuple[Dim, ...]

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join(str(d) for d in self.shape)}]"


@dataclass(frozen=True)
class Port:
    """An input or output that a signature asks for; `meaning` gives the unit and range."""

    name: str
    dtypes: tuple[str, ...]
    dims: tuple[str, ...]
    meaning: str
    required: bool = True

    def __str__(self) -> str:
        return f"{self.name}: {'|'.join(self.dtypes)}[{', '.join(self.dims)}]"


@dataclass(frozen=True)
class Signature:
    """The inputs and outputs of one capability. `alternative` is a second set of inputs that serves as well, and
    `alternative_outputs` are theirs, where they differ."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    alternative: tuple[Port, ...] = ()
    alternative_outputs: tuple[Port, ...] = ()

    def ports(self, given: set[str]) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
        """The inputs and outputs of a graph whose inputs have these names."""
        if given & ({p.name for p in self.alternative} - {p.name for p in self.inputs}):
            return self.alternative, self.alternative_outputs or self.outputs
        return self.inputs, self.outputs


_F32, _I64, _I32 = ("float32",), ("int64",), ("int32",)
_CACHE = ("float32", "float16", "bfloat16")
_PAST, _TOTAL = ("B", "H", "past", "E"), ("B", "H", "total", "E")
_SAMPLE = Port("x", _F32, ("B", "*S"), "sample in the manifest's value range")
_LABEL = Port("label", _I64, ("B",), "class index; the number of classes itself means 'no class'", required=False)

SIGNATURES: dict[Capability, Signature] = {
    Capability.DECODE: Signature(
        inputs=(Port("z", _F32, ("B", "Z"), "latent, drawn from the manifest's prior"), _LABEL),
        outputs=(_SAMPLE,),
    ),
    Capability.ENCODE: Signature(
        inputs=(_SAMPLE,),
        alternative=(
            Port("input_ids", _I64, ("B", "T"), "token ids"),
            Port("lengths", _I64, ("B",), "tokens that count in each row"),
        ),
        outputs=(
            Port("embedding", _F32, ("B", "D"), "embedding"),
            Port("logits", _F32, ("B", "K"), "class logits, of a model that classifies too", required=False),
        ),
    ),
    Capability.RECONSTRUCT: Signature(
        inputs=(
            Port("x", _F32, ("B", "*Q"), "degraded sample, not clipped; the manifest says how degraded"),
            Port("sigma", _F32, ("B",), "noise level in the units of x; negative: unknown", required=False),
        ),
        outputs=(
            Port("x_hat", _F32, ("B", "*R"), "estimate of the clean sample"),
            Port("uncertainty", _F32, ("B", "*R"), "standard deviation of x_hat", required=False),
        ),
    ),
    Capability.LOG_DENSITY: Signature(
        inputs=(_SAMPLE,),
        alternative=(
            Port("input_ids", _I64, ("B", "T"), "token ids; the first one is given, not scored"),
            Port("lengths", _I64, ("B",), "tokens that count in each row, the first one included"),
        ),
        outputs=(
            Port("log_prob", _F32, ("B",), "log-density in nats; the manifest says exact, bound, energy or critic"),
            Port("log_prob_map", _F32, ("B", "*M"), "the parts that add up to log_prob, in nats", required=False),
        ),
    ),
    Capability.SCORE: Signature(
        inputs=(_SAMPLE,),
        alternative=(
            Port("input_ids", _I64, ("B", "*S"), "token ids; the first one is given, not scored; an end token is last"),
            Port("lengths", _I64, ("B",), "tokens that count in each row, the first and the end token included"),
        ),
        outputs=(
            Port(
                "normality", _F32, ("B", "N"), "one score for each of the manifest's statistics; higher is more normal"
            ),
            Port(
                "surprise",
                _F32,
                ("B", "*S"),
                "what each value takes away from the default score; of a token, -log p in nats",
                required=False,
            ),
        ),
    ),
    Capability.DENOISE_STEP: Signature(
        inputs=(
            Port("x_t", _F32, ("B", "*S"), "x + sigma n, in the units of the manifest's value range"),
            Port("sigma", _F32, ("B",), "noise level in the units of x_t"),
            _LABEL,
        ),
        outputs=(Port("x0", _F32, ("B", "*S"), "denoised estimate D(x_t; sigma), not clipped"),),
    ),
    Capability.NEXT_TOKEN: Signature(
        inputs=(
            Port("input_ids", _I64, ("B", "T"), "the tokens to add"),
            Port("seqlens_k", _I32, ("B",), "tokens of the row after this call, minus 1"),
            Port("total_sequence_length", _I32, (), "the largest row's tokens after this call"),
            Port("past_key_values.{i}.key", _CACHE, ("B", "H", "cache", "E"), "keys; shares memory with present"),
            Port("past_key_values.{i}.value", _CACHE, ("B", "H", "cache", "E"), "values; shares memory with present"),
        ),
        outputs=(
            Port("logits", _F32, ("B", "V"), "logits of the token after the last one given"),
            Port("present.{i}.key", _CACHE, ("B", "H", "cache", "E"), "keys with this call's tokens"),
            Port("present.{i}.value", _CACHE, ("B", "H", "cache", "E"), "values with this call's tokens"),
        ),
        alternative=(
            Port("input_ids", _I64, ("B", "T"), "the tokens to add"),
            Port("attention_mask", _I64, ("B", "total"), "1 for a token that counts, 0 for padding on the left"),
            Port("position_ids", _I64, ("B", "T"), "the tokens' places, from 0", required=False),
            Port("past_key_values.{i}.key", _CACHE, _PAST, "keys of the tokens before"),
            Port("past_key_values.{i}.value", _CACHE, _PAST, "values of the tokens before"),
        ),
        alternative_outputs=(
            Port("logits", _F32, ("B", "T", "V"), "logits of the token after each one given"),
            Port("present.{i}.key", _CACHE, _TOTAL, "past keys, and this call's behind them"),
            Port("present.{i}.value", _CACHE, _TOTAL, "past values, and this call's behind them"),
        ),
    ),
}


def mismatches(capability: Capability, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> list[str]:
    """Say where a graph departs from its capability's signature; an empty list means that it fits.

    Each sentence gives what was expected and what was found.
    """
    expected_inputs, expected_outputs = SIGNATURES[capability].ports({t.name for t in inputs})
    layers = _layers([*expected_inputs, *expected_outputs], {t.name for t in (*inputs, *outputs)})
    if concatenates(inputs):
        layers = max(layers, 1)  # one without a past was exported for training, not for writing
    bound: dict[str, tuple[Dim, ...]] = {}
    return [
        *_compare("input", expected_inputs, inputs, layers, bound),
        *_compare("output", expected_outputs, outputs, layers, bound),
    ]


def concatenates(inputs: Sequence[TensorSpec]) -> bool:
    """Whether a `next_token` graph gives its caches back longer than it took them, as Optimum's do."""
    return any(t.name == "attention_mask" for t in inputs)


def _compare(side: str, ports: Sequence[Port], found: Sequence[TensorSpec], layers: int, bound: dict) -> Iterator[str]:
    by_name = {t.name: t for t in found}
    for port in ports:
        for name in [port.name.replace("{i}", str(i)) for i in range(layers if "{i}" in port.name else 1)]:
            tensor = by_name.pop(name, None)
            if tensor is not None:
                yield from _fits(side, replace(port, name=name), tensor, bound)
            elif port.required:
                yield f"{side}: expected {replace(port, name=name)}, found none"
    for name in by_name:
        yield f"{side}: expected none of the name, found {by_name[name]}"


def _layers(ports: Sequence[Port], names: set[str]) -> int:
    """The layers that the names count, from 0 up; none where no name belongs to a layer: a model without a cache."""
    patterns = [port.name for port in ports if "{i}" in port.name]
    if not any(name.startswith(pattern.partition("{i}")[0]) for pattern in patterns for name in names):
        return 0
    layer = 1  # so that a missing first one is noticed
    while any(pattern.replace("{i}", str(layer)) in names for pattern in patterns):
        layer += 1
    return layer


def _fits(side: str, port: Port, tensor: TensorSpec, bound: dict[str, tuple[Dim, ...]]) -> Iterator[str]:
    if tensor.dtype not in port.dtypes:
        yield f"{side}: expected {port}, found {tensor}"
        return
    dims = list(tensor.shape)
    star = next((i for i, d in enumerate(port.dims) if d.startswith("*")), None)
    rank_fits = len(dims) == len(port.dims) if star is None else len(dims) >= len(port.dims)
    if not rank_fits:
        yield f"{side}: expected {port}, found {tensor} (rank {len(dims)})"
        return
    if port.dims and port.dims[0] == "B" and not isinstance(dims[0], str):
        yield f"{side}: expected {port} with a symbolic batch dimension, found {tensor}"
    for i, symbol in enumerate(port.dims):
        if symbol == "B":
            continue
        part = tuple(dims[i:]) if symbol.startswith("*") else (dims[i],)
        before = bound.setdefault(symbol, part)
        differ = len(before) != len(part) or any(
            isinstance(a, int) and isinstance(b, int) and a != b for a, b in zip(before, part, strict=False)
        )
        if differ:
            yield f"{side}: expected {port} with {symbol} = {list(before)}, found {tensor}"
