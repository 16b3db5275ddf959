"""Weights of 8 or 16 bits.

Of 8 bits: a text graph that reads a quarter of the memory for a step, which is what a lone sequence waits for. Every BLOCK weights of a column have a scale of their own, and inputs are rounded to 8 bits by blocks as well: ONNX Runtime's
com.microsoft::MatMulNBits at accuracy level 4. A row's rounding is its own, so that its bits do not depend on its batch, as
they do where a whole tensor is quantised while it runs.

Of 16 bits: a file of half the size. The runtime turns the weights into float32 when it loads them, and computes as ever.
"""

import copy
import logging
from dataclasses import replace
from types import ModuleType

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from contract import Capability
from training.family import GraphExport

BLOCK = 64
TOLERANCE = 0.3
"""Of a logit, against torch. On two of the shipped text models the largest difference of 58,000 logits was 0.13, the root
mean square 0.02 of a deviation of 2.6, and the distributions differed by 1e-4 to 2e-4 nats (Kullback-Leibler)."""

HALF_TOLERANCE = 2e-3
"""Of an output, against torch with its float32 weights: half a grey level of 255, for images."""


def with_int8_weights(graph: GraphExport) -> GraphExport:
    """The same graph with 8-bit weights where it writes text token by token, and as it is where it does not."""
    if graph.capability is not Capability.NEXT_TOKEN:
        return graph
    return replace(graph, rewrite=int8_weights, tolerance=TOLERANCE)


def int8_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose products with constant float32 matrices are MatMulNBits of 8 bits; its other nodes are as they were.

    Raises ValueError where there is no such product.
    """
    nbits = _quantizer()
    settings = nbits.DefaultWeightOnlyQuantConfig(
        block_size=BLOCK, is_symmetric=True, accuracy_level=4, bits=8, op_types_to_quantize=("MatMul",)
    )
    quantizer = nbits.MatMulNBitsQuantizer(copy.deepcopy(model), algo_config=settings)
    quantizer.process()
    written = quantizer.model.model
    if all(node.op_type != "MatMulNBits" for node in written.graph.node):
        raise ValueError(
            "weights: expected a product with a constant float32 matrix, found none: export float32 weights"
        )
    return written


def with_float16_weights(graph: GraphExport) -> GraphExport:
    """The same graph with its matrices and kernels rounded to float16."""
    return replace(graph, rewrite=float16_weights, tolerance=max(graph.tolerance, HALF_TOLERANCE))


def float16_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose constants of two or more dimensions are kept as float16, each behind a Cast.

    Raises ValueError where one is too large for float16.
    """
    halved = copy.deepcopy(model)
    graph = halved.graph
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        values = numpy_helper.to_array(tensor)
        if not (np.abs(values) <= np.finfo(np.float16).max).all():
            raise ValueError(f"weights: {tensor.name} has values beyond float16's 65504: export float32 weights")
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name} float16"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return halved


WITH_WEIGHTS = {"int8": with_int8_weights, "float16": with_float16_weights}
"""What makes a graph of weights other than float32, by their name in a recipe."""


def _quantizer() -> ModuleType:
    """ONNX Runtime's module, which on import sets up the logging of the whole process: that is taken back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    from onnxruntime.quantization import matmul_nbits_quantizer

    root.handlers[:] = handlers
    root.setLevel(level)
    matmul_nbits_quantizer.logger.disabled = True
    return matmul_nbits_quantizer
