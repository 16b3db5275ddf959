"""A generator of a few hundred bytes that asks for gigabytes."""

from pathlib import Path

import numpy as np

from contract import Capability
from contract.manifest import Data, Latent
from tests.toys.directories import write_model
from tests.toys.graphs import Builder, spec

GREEDY = "toy-greedy"


def write_greedy(store: Path, gigabytes: int) -> Path:
    """x = sigmoid(z W) + the largest of so many zeros."""
    b = Builder()
    flat = b("Sigmoid", b("MatMul", "z", b.weight(np.zeros((4, 64), np.float32))))
    zeros = b("ConstantOfShape", b.weight(np.array([gigabytes * 2**28], np.int64)))
    flat = b("Add", flat, b("ReduceMax", zeros, keepdims=0))
    b("Reshape", flat, b.weight(np.array([-1, 1, 8, 8], np.int64)), out="x")
    inputs = (spec("z", "float32", "batch", 4),)
    outputs = (spec("x", "float32", "batch", 1, 8, 8),)
    data = Data(kind="image", dataset="toy", shape=(1, 8, 8), value_range=(0.0, 1.0))
    parts = {Capability.DECODE: (b.model("greedy", inputs, outputs), inputs, outputs)}
    return write_model(store, GREEDY, parts, data=data, latent=Latent(size=4))
