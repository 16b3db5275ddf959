"""What computing in float16 changes, so that a server may do it on a GPU.

A CPU cannot simply be asked: ONNX Runtime runs most operators of a float16 graph in float32 there, and leaves out the casts
between them, so that little but constants is rounded. Here every result is rounded by casts of the graph's own, which it
keeps; sums are in float32, as a GPU's matrix units have them.
"""

import copy

import numpy as np
import onnx
from onnx import TensorProto, helper, inliner, numpy_helper, shape_inference
from onnxruntime.transformers.float16 import convert_float_to_float16

TOLERANCE = 2e-3
"""Of an output, against torch in float32: half a grey level of 255, for images."""
LOGITS_TOLERANCE = 2e-2
"""Of a logit, in nats: the odds of two tokens change by 4% at most."""


class NoFloat16(ValueError):
    """A graph that cannot be made to compute in float16, or of which it cannot be said what that would change."""


def in_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that computes in float16 and takes and gives what it did, as the service makes it. Raises NoFloat16."""
    try:
        return convert_float_to_float16(copy.deepcopy(model), keep_io_types=True)
    except Exception as error:  # the converter has no exceptions of its own
        raise NoFloat16(str(error)) from error


def rounded(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that computes in float32 and rounds constants, inputs and results to float16. Raises NoFloat16."""
    model = inliner.inline_local_functions(copy.deepcopy(model))
    graph = model.graph
    inferred = shape_inference.infer_shapes(model).graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*inferred.value_info, *graph.input, *graph.output)}
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            with np.errstate(over="ignore"):
                values = numpy_helper.to_array(tensor).astype(np.float16).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    inputs = {v.name: f"{v.name} rounded" for v in graph.input if types[v.name] == TensorProto.FLOAT}
    nodes = [cast for name, rounded in inputs.items() for cast in _rounding(name, rounded)]
    for node in graph.node:
        if any(a.HasField("g") or a.graphs for a in node.attribute):
            raise NoFloat16(f"{node.op_type}: its inner graph is not looked into")
        node.input[:] = [inputs.get(name, name) for name in node.input]
        after = []
        for i, name in enumerate(node.output):
            if name and name not in types:
                raise NoFloat16(f"{node.op_type}: the type of its result {name} is not known")
            if name and types[name] == TensorProto.FLOAT:
                node.output[i] = f"{name} exact"
                after += _rounding(node.output[i], name)
        nodes += [node, *after]
    del graph.node[:]
    del graph.value_info[:]
    graph.node.extend(nodes)
    return model


def _rounding(value: str, result: str) -> list[onnx.NodeProto]:
    half = f"{result}, before in float16"
    return [
        helper.make_node("Cast", [value], [half], to=TensorProto.FLOAT16),
        helper.make_node("Cast", [half], [result], to=TensorProto.FLOAT),
    ]
