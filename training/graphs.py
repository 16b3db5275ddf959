"""One ONNX graph: written, compared with torch on held-out inputs, and described in the contract's words.

The parity gate runs both at several batch sizes; batch invariance, a row against the same row in batches of all the sizes that
a server gives the graph, and what computing in float16 would change are measured and recorded.
"""

import hashlib
import inspect
import logging
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.compose
import onnxruntime
import torch
from torch import Tensor, nn

from contract import Capability, TensorSpec, mismatches
from contract.kernels import choose_kernels, halve_attention, transpose_convolutions
from contract.manifest import Agreement, Graph
from service.engine.sizes import BUCKETS
from training import half
from training.family import Batch, GraphExport, Source
from training.half import in_float16, rounded
from training.invariance import agreement, differences, served

log = logging.getLogger(__name__)

DTYPES: dict[str, Any] = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(bfloat16)": "bfloat16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}
WITH_TORCH = (1, 2, 3, 8, 16, 32)
TEXT_ROWS = 32
"""Texts that are written together are as many as a server has slots: 16, unless it is told otherwise."""


class ExportRefused(ValueError):
    """A model that must not be shipped: its graph differs from torch, or from its signature."""


def write_graph(
    graph: GraphExport, held_out: Source, directory: Path, batch_sizes: Iterable[int] | None = None
) -> Graph:
    """Export one graph, compare it with torch on held-out inputs, and describe it. Without `batch_sizes` rows are compared with
    themselves at all those that a server gives it, and with torch, which is slower, at a few.

    Raises ExportRefused where it departs from its signature, or from torch by more than its tolerance.
    """
    path = directory / f"{graph.capability.value}.onnx"
    to_onnx(graph, path)
    session = open_session(path)
    inputs, outputs = specs(session.get_inputs()), specs(session.get_outputs())
    wrong = mismatches(graph.capability, inputs, outputs)
    if wrong:
        raise ExportRefused(f"{graph.capability.value}: {'; '.join(wrong)}")
    few = WITH_TORCH if batch_sizes is None else tuple(sorted(batch_sizes))
    parity = _parity(graph, session, held_out, few)
    if not parity.max_abs_diff <= parity.tolerance:  # a NaN differs too
        raise ExportRefused(
            f"{graph.capability.value}: ONNX Runtime differs from torch by {parity.max_abs_diff:.3g}, "
            f"the tolerance is {parity.tolerance:.3g}; nothing was written"
        )
    sizes = _served(graph, session, held_out) if batch_sizes is None else few
    return Graph(
        file=path.name,
        sha256=sha256(path),
        inputs=inputs,
        outputs=outputs,
        parity=parity,
        float16=_float16_parity(graph, path, held_out, few),
        batch_invariance=_batch_invariance(graph, session, held_out, sizes),
        density=graph.density,
    )


def to_onnx(graph: GraphExport, path: Path) -> None:
    """Write the ONNX file, with its weights inside and without the exporter's notes about our source files."""
    shapes: list = [graph.dynamic_shapes.get(name, {}) for name in graph.example]
    fixed = _positional_parameters(graph.module)
    if fixed < len(shapes):
        shapes = [*shapes[:fixed], tuple(shapes[fixed:])]  # forward(a, b, *rest)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph.module.eval(),
            tuple(graph.example.values()),
            str(path),
            dynamo=True,
            external_data=False,
            verbose=False,
            opset_version=graph.opset,
            input_names=list(graph.example),
            output_names=[f"output {name}" for name in graph.outputs],  # "embedding" alone is torch's name of a value
            dynamic_shapes=tuple(shapes),
        )
    model = onnx.load(path)
    _rename(model.graph, {f"output {name}": name for name in graph.outputs} | {n: f"{n} inside" for n in graph.outputs})
    _share(model.graph)
    if graph.encoder is not None:
        model = _composed(onnx.load(graph.encoder), model)
    del model.graph.value_info[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    model.graph.doc_string = ""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for function in model.functions:
        del function.metadata_props[:]
        for node in function.node:
            del node.metadata_props[:]
    for value in [*model.graph.input, *model.graph.output, *model.graph.initializer]:
        del value.metadata_props[:]
    if graph.rewrite is not None:
        model = graph.rewrite(model)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _composed(encoder: onnx.ModelProto, model: onnx.ModelProto) -> onnx.ModelProto:
    """One graph: the encoder's x, and the outputs of a model that takes the embedding for its x."""
    encoder = onnx.compose.add_prefix(encoder, "encoder/", rename_inputs=False)
    model = onnx.compose.add_prefix(model, "embedded/", rename_outputs=False)
    encoder.ir_version = model.ir_version = max(encoder.ir_version, model.ir_version)
    outputs = [output.name for output in model.graph.output]
    return onnx.compose.merge_models(encoder, model, [("encoder/embedding", "embedded/x")], outputs=outputs)


def opset(path: Path) -> int:
    """The version of ONNX's own operators that a graph is written in."""
    return next(o.version for o in onnx.load(path).opset_import if o.domain in ("", "ai.onnx"))


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    """Give values and outputs other names."""
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for output in graph.output:
        output.name = names.get(output.name, output.name)


def _share(graph: onnx.GraphProto) -> None:
    """Keep one of equal constants: every layer brings its own copy of a mask."""
    kept: dict[tuple[int, tuple[int, ...], bytes], onnx.TensorProto] = {}
    copies = {}
    for tensor in graph.initializer:
        first = kept.setdefault((tensor.data_type, tuple(tensor.dims), tensor.raw_data or tensor.name.encode()), tensor)
        if first is not tensor:
            copies[tensor.name] = first.name
    unlike = list(kept.values())
    del graph.initializer[:]
    graph.initializer.extend(unlike)
    _rename(graph, copies)


def _positional_parameters(module: nn.Module) -> int:
    parameters = inspect.signature(module.forward).parameters.values()
    return sum(p.kind is not inspect.Parameter.VAR_POSITIONAL for p in parameters)


def open_session(model: Path | bytes, threads: int = 1) -> onnxruntime.InferenceSession:
    """A session on the CPU, computed as the service does; 0 threads leave the number to the runtime."""
    choose_kernels()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if isinstance(model, Path):
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(model.parent))
        model = model.read_bytes()
    proto = onnx.load_model_from_string(model)
    if transpose_convolutions(proto):
        model = proto.SerializeToString()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def specs(arguments: Iterable[onnxruntime.NodeArg]) -> tuple[TensorSpec, ...]:
    """A session's real inputs or outputs, in the contract's words."""
    return tuple(
        TensorSpec(
            name=a.name,
            dtype=DTYPES[a.type],
            shape=tuple(d if d not in (None, "") else f"{a.name}_{i}" for i, d in enumerate(a.shape)),
        )
        for a in arguments
    )


def run(session: onnxruntime.InferenceSession, inputs: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """The outputs of a session; what it takes in float16 may be given in float32."""
    halves = {port.name for port in session.get_inputs() if port.type == "tensor(float16)"}
    values = session.run(None, {name: (t.half() if name in halves else t).numpy() for name, t in inputs.items()})
    return dict(zip((o.name for o in session.get_outputs()), values, strict=True))


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).max(initial=0.0))


def _held_out_batch(inputs: Callable[[Batch], dict[str, Tensor]], source: Source, size: int) -> dict[str, Tensor]:
    return inputs(source.at(torch.arange(size) % len(source)))


def _batched(graph: GraphExport) -> set[str]:
    """The inputs that have a row for each item."""
    return {name for name in graph.example if 0 in graph.dynamic_shapes.get(name, {})}


def _served(graph: GraphExport, session: onnxruntime.InferenceSession, held_out: Source) -> tuple[int, ...]:
    """The batch sizes that a server gives a graph."""
    if graph.capability is Capability.NEXT_TOKEN:
        return tuple(size for size in BUCKETS if size <= TEXT_ROWS)
    row = _held_out_batch(graph.inputs, held_out, 1)

    def seconds(rows: int) -> float:
        inputs = _held_out_batch(graph.inputs, held_out, rows)
        start = time.monotonic()
        run(session, inputs)
        return time.monotonic() - start

    return served(sum(row[name].numel() for name in _batched(graph)), seconds)


def _compared(graph: GraphExport) -> tuple[str, ...]:
    return graph.compare or graph.outputs


def _parity(
    graph: GraphExport, session: onnxruntime.InferenceSession, held_out: Source, sizes: tuple[int, ...]
) -> Agreement:
    reference = (graph.reference or graph.module).eval()
    worst = 0.0
    for size in sizes:
        inputs = _held_out_batch(graph.inputs, held_out, size)
        with torch.no_grad():
            expected = reference(*inputs.values())
        expected = expected if isinstance(expected, tuple) else (expected,)
        found = run(session, inputs)
        for name, value in zip(_compared(graph), expected, strict=True):
            worst = float(np.maximum(worst, _difference(found[name], value.numpy())))  # np.maximum keeps a NaN
    return Agreement(max_abs_diff=worst if np.isfinite(worst) else 1e30, tolerance=graph.tolerance, batch_sizes=sizes)


def _float16_parity(graph: GraphExport, path: Path, held_out: Source, sizes: tuple[int, ...]) -> Agreement | None:
    """What computing in float16 changes, of text in the attention alone; None where that cannot be said."""
    model = onnx.load(path)
    try:
        if graph.capability is Capability.NEXT_TOKEN:
            # The CPU has these kernels: queries, keys, values and what comes out are rounded, sums are in float32.
            if not halve_attention(model):
                return None
            session = open_session(model.SerializeToString())
            return _parity(
                replace(graph, tolerance=max(graph.tolerance, half.LOGITS_TOLERANCE)), session, held_out, sizes[-1:]
            )
        open_session(in_float16(model).SerializeToString())
        session = open_session(rounded(model).SerializeToString())
        # The casts cost more than the graph, and the largest batch holds the rows of the others.
        return _parity(replace(graph, tolerance=half.TOLERANCE), session, held_out, (max(sizes),))
    except Exception as error:  # the runtime's have no common base: what it cannot open is no float16 graph either
        log.info("%s: no parity in float16: %s", graph.capability.value, error)
        return None


def _batch_invariance(
    graph: GraphExport, session: onnxruntime.InferenceSession, held_out: Source, sizes: tuple[int, ...]
) -> Agreement:
    whole = _held_out_batch(graph.rows or graph.inputs, held_out, max(sizes))
    batched = _batched(graph)

    def rows(numbers: np.ndarray) -> dict[str, np.ndarray]:
        some = torch.from_numpy(numbers.copy())  # a view that goes backwards is none of torch's
        found = run(session, {name: t[some] if name in batched else t for name, t in whole.items()})
        return {name: found[name] for name in _compared(graph)}

    return agreement(differences(rows, sizes))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
