"""Generators with a class that hangs, in one way and in another, and one whose numbers are none."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from contract import Capability
from contract.manifest import Data, Latent
from tests.toys.directories import DIGITS, write_model
from tests.toys.graphs import Builder, Parts, spec

HANGS, NOT_FINITE = 9, 8
"""The classes that go wrong; the others are drawn as they should be."""
ENDLESS, STUCK = "toy-endless", "toy-stuck"
STUCK_STEPS = 9_000_000
"""Two seconds or more."""


def _again() -> onnx.GraphProto:
    """The body of a loop that hands on what it was given."""

    def port(name: str, kind: int, shape: list | None) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    nodes = [helper.make_node("Identity", ["go_on"], ["goes_on"]), helper.make_node("Identity", ["before"], ["after"])]
    inputs = [port("i", TensorProto.INT64, []), port("go_on", TensorProto.BOOL, [])]
    outputs = [port("goes_on", TensorProto.BOOL, []), port("after", TensorProto.FLOAT, None)]
    return helper.make_graph(nodes, "again", [*inputs, port("before", TensorProto.FLOAT, None)], outputs)


def _generator(stuck: bool, everywhere: bool = False) -> Parts:
    """x = sigmoid(z W), with trips through a loop, or through the steps of a recurrent network, that change nothing."""
    b, side = Builder(), 8
    rng = np.random.default_rng(0)
    flat = b("Sigmoid", b("MatMul", "z", b.weight(rng.normal(size=(4, side * side)).astype(np.float32))))
    worst = b("ReduceMax", "label", keepdims=0)
    bad = b("GreaterOrEqual", worst, b.weight(np.int64(0 if everywhere else HANGS)))
    trips = b("Where", bad, b.weight(np.int64(STUCK_STEPS if stuck else 2**62)), b.weight(np.int64(1)))
    if stuck:
        one = b.weight(np.array([1], np.int64))
        shape = b("Concat", b("Unsqueeze", trips, b.weight(np.array([0]))), one, one, axis=0)
        steps = b("ConstantOfShape", shape, value=helper.make_tensor("v", TensorProto.FLOAT, [1], [0.0]))
        gates = b.weight(np.zeros((1, 4, 1), np.float32))
        b("LSTM", steps, gates, gates, out=["", "last"], hidden_size=1)  # (1, 1, 1), zero
        flat = b("Add", flat, b("Reshape", "last", b.weight(np.array([1, 1], np.int64))))
    else:
        flat = b("Loop", trips, b.weight(np.array(True)), flat, body=_again())
    nobody = b("Equal", "label", b.weight(np.int64(NOT_FINITE)))
    divisor = b("Where", nobody, b.weight(np.float32(0)), b.weight(np.float32(1)))
    flat = b("Div", flat, b("Reshape", divisor, b.weight(np.array([-1, 1], np.int64))))
    b("Reshape", flat, b.weight(np.array([-1, 1, side, side], np.int64)), out="x")
    inputs = (spec("z", "float32", "batch", 4), spec("label", "int64", "batch"))
    outputs = (spec("x", "float32", "batch", 1, side, side),)
    return b.model("hanging", inputs, outputs), inputs, outputs


def write_hanging(store: Path, *, stuck: bool = False, everywhere: bool = False, invariant: bool = True) -> Path:
    """A generator that goes on for ever, in a loop of many nodes or (`stuck`) for long in a single one, where it draws the
    class HANGS; or `everywhere`, at its first run too."""
    data = Data(kind="image", dataset="toy", shape=(1, 8, 8), value_range=(0.0, 1.0), class_names=DIGITS)
    parts = {Capability.DECODE: _generator(stuck, everywhere)}
    name = STUCK if stuck else ENDLESS
    return write_model(store, name, parts, data=data, latent=Latent(size=4), invariant=invariant)
