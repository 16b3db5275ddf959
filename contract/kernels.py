"""Which of ONNX Runtime's kernels compute a model's graphs on a CPU: the same where a graph is measured and where it is
served.

Models are onnx.ModelProto, whose fields are known here; the contract imports no onnx.
"""

import os
from collections.abc import Sequence
from typing import Any

_FLOAT, _INT64, _FLOAT16 = 1, 7, 10  # TensorProto's numbers of the types
_INT, _INTS = 2, 7  # AttributeProto's
_ATTENTION_FLOATS = (0, 1, 2, 7, 8)  # inputs of GroupQueryAttention: queries, keys, values, and the rotary tables


def choose_kernels() -> None:
    """To be called before a session is made.

    GroupQueryAttention on a CPU has two ways. The tiled one keeps a long prompt's scores out of memory, and computes a
    step with 128-bit instructions: a step of 16 rows of 8 × 128 takes twice as long. Our prompts come in chunks anyway.
    """
    os.environ.setdefault("ORT_GQA_DISABLE_FLASH_ATTENTION", "1")


def transpose_convolutions(model: Any) -> bool:
    """Make each 1 × 1 convolution before a pixel shuffle (Shi et al. 2016, arXiv:1609.05158) the transposed convolution that
    it is: of stride and size r, so that an input pixel writes r × r outputs (their 2016 note, arXiv:1609.07009).

    DepthToSpace moves element by element, which takes a tenth of a small decoder's time. Returns whether there was one.
    """
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    uses: dict[str, int] = {output.name: 1 for output in graph.output}
    for node in graph.node:
        for name in node.input:
            uses[name] = uses.get(name, 0) + 1
    shapes = _weight_shapes(graph)
    found = False
    for shuffle in [node for node in graph.node if node.op_type == "DepthToSpace" and not node.domain]:
        convolution = makers.get(shuffle.input[0])
        if convolution is None or uses[shuffle.input[0]] > 1 or not _pointwise(convolution, shapes):
            continue
        _transpose(graph, convolution, shuffle, shapes[convolution.input[1]])
        found = True
    return found


def halve_attention(model: Any) -> frozenset[str]:
    """Have GroupQueryAttention compute in float16, keys and values too, and all else in float32 as before: on CUDA it has no
    other kernels. Returns the names of the inputs and outputs that are float16 now."""
    graph, nodes = model.graph, []
    attentions = [node for node in graph.node if node.op_type == "GroupQueryAttention"]
    caches = {name for node in attentions for name in (*node.input[3:5], *node.output[1:3])} - {""}
    for node in graph.node:
        attends = node.op_type == "GroupQueryAttention"
        for i, name in enumerate(node.input):
            if name and (i in _ATTENTION_FLOATS if attends else name in caches):
                to = _FLOAT16 if attends else _FLOAT
                node.input[i] = f"{name}, input {i} of {node.output[0]}"
                nodes.append(_cast(node, name, node.input[i], to))
        nodes.append(node)
        if attends:
            result, node.output[0] = node.output[0], f"{node.output[0]} in float16"
            nodes.append(_cast(node, node.output[0], result, _FLOAT))
    for port in (*graph.input, *graph.output):
        if port.name in caches:
            port.type.tensor_type.elem_type = _FLOAT16
    kept = [value for value in graph.value_info if value.name not in caches]
    del graph.value_info[:]
    graph.value_info.extend(kept)
    del graph.node[:]
    graph.node.extend(nodes)
    return frozenset(caches)


def _cast(like: Any, value: str, result: str, to: int) -> Any:
    cast = type(like)(op_type="Cast", input=[value], output=[result])
    cast.attribute.add(name="to", type=_INT, i=to)
    return cast


def _weight_shapes(graph: Any) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights, and of those that are kept in another type and cast."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Cast" and node.input[0] in shapes:
            shapes[node.output[0]] = shapes[node.input[0]]
    return shapes


def _pointwise(node: Any, shapes: dict[str, tuple[int, ...]]) -> bool:
    """Whether it is a convolution of single pixels with known weights, in one group and without bias: a transposed one has
    a bias for each channel only."""
    if node.op_type != "Conv" or node.domain or len([name for name in node.input if name]) != 2:
        return False
    plain = all(
        set(_integers(node, name)) <= {usual} for name, usual in (("pads", 0), ("strides", 1), ("dilations", 1))
    )
    return plain and _integers(node, "group") in ([], [1]) and shapes.get(node.input[1], ())[2:] == (1, 1)


def _transpose(graph: Any, convolution: Any, shuffle: Any, shape: tuple[int, ...]) -> None:
    """Put a transposed convolution in their place. Its weights are made by nodes, which the runtime computes once."""
    (r,) = _integers(shuffle, "blocksize")
    outputs, inputs = shape[:2]
    mode = next((a.s for a in shuffle.attribute if a.name == "mode"), b"DCR")
    if mode == b"CRD":  # torch's pixel_shuffle: output channel c r r + i r + j
        split, order = (outputs // r**2, r, r, inputs), (3, 0, 1, 2)
    else:  # (i r + j) C + c
        split, order = (r, r, outputs // r**2, inputs), (3, 2, 0, 1)
    name = shuffle.output[0]
    sides = graph.initializer.add(name=f"{name} split", data_type=_INT64, dims=[4], int64_data=split)
    at = next(i for i, node in enumerate(graph.node) if name in node.output) - 1
    kept = [node for node in graph.node if not {name, convolution.output[0]} & set(node.output)]
    made = [
        _node(graph, "Reshape", [convolution.input[1], sides.name], f"{name} parts"),
        _node(graph, "Transpose", [f"{name} parts"], f"{name} weights", perm=order),
        _node(
            graph, "ConvTranspose", [convolution.input[0], f"{name} weights"], name, kernel_shape=[r, r], strides=[r, r]
        ),
    ]
    del graph.node[:]
    graph.node.extend([*kept[:at], *made, *kept[at:]])


def _node(graph: Any, kind: str, inputs: list[str], output: str, **attributes: Sequence[int]) -> Any:
    node = graph.node.add(op_type=kind, input=inputs, output=[output])
    for name, values in attributes.items():
        node.attribute.add(name=name, type=_INTS, ints=values)
    return node


def _integers(node: Any, name: str) -> list[int]:
    """An attribute of one integer or of several; none where it is not given."""
    for attribute in node.attribute:
        if attribute.name == name:
            return list(attribute.ints) or [attribute.i]
    return []
