"""Graphs whose every result is rounded to float16, run on a CPU."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from training.graphs import open_session
from training.half import NoFloat16, in_float16, rounded

X = np.float32([[600.3, 7.777, 0.1, 20.0]])


def model(*nodes, functions=()):
    """x (n, 4) -> y (n, 4), float32."""
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in "xy"]
    graph = helper.make_graph(list(nodes), "g", ports[:1], ports[1:])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9, functions=list(functions))


SQUARED = (helper.make_node("Mul", ["x", "x"], ["a"]), helper.make_node("Sqrt", ["a"], ["y"]))


def run(proto):
    (found,) = open_session(proto.SerializeToString()).run(None, {"x": X})
    assert found.dtype == np.float32
    return found


def expected():
    half = X.astype(np.float16)
    with np.errstate(over="ignore"):
        return np.sqrt((half.astype(np.float32) ** 2).astype(np.float16).astype(np.float32)).astype(np.float16)


def test_every_result_is_rounded_as_numpy_does():
    assert np.array_equal(run(rounded(model(*SQUARED))), expected().astype(np.float32))
    assert np.isinf(run(rounded(model(*SQUARED)))[0, 0])


def test_a_cpu_does_not_round_what_it_has_no_kernel_for():
    """Why a graph in float16 is not simply run."""
    assert np.isfinite(run(in_float16(model(*SQUARED)))).all()


def test_constants_are_rounded_and_integers_are_not():
    nodes = (
        helper.make_node("Constant", [], ["c"], value=helper.make_tensor("", TensorProto.FLOAT, [1], [1 / 3])),
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Expand", ["c", "shape"], ["y"]),
    )
    assert (run(rounded(model(*nodes))) == np.float16(1 / 3)).all()


def test_functions_of_a_model_are_looked_into():
    opsets = [helper.make_opsetid("", 18)]
    square = helper.make_function("own", "Square", ["x"], ["a"], [SQUARED[0]], opsets)
    nodes = (helper.make_node("Square", ["x"], ["a"], domain="own"), SQUARED[1])
    assert np.array_equal(run(rounded(model(*nodes, functions=[square]))), expected().astype(np.float32))


def test_the_model_itself_is_left_as_it_is():
    proto = model(*SQUARED)
    before = proto.SerializeToString()
    rounded(proto)
    in_float16(proto)
    assert proto.SerializeToString() == before


def test_what_cannot_be_said_is_refused():
    branch = helper.make_graph([], "b", [], [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])])
    nodes = (
        helper.make_node("Constant", [], ["c"], value=helper.make_tensor("", TensorProto.BOOL, [], [True])),
        helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch),
    )
    with pytest.raises(NoFloat16, match="If: its inner graph"):
        rounded(model(*nodes))
    unknown = (helper.make_node("Odd", ["x"], ["a"], domain="own"), helper.make_node("Sqrt", ["a"], ["y"]))
    with pytest.raises(NoFloat16, match="Odd: the type of its result a is not known"):
        rounded(model(*unknown))


def test_a_graph_stays_valid():
    onnx.checker.check_model(rounded(model(*SQUARED)))
