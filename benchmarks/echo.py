"""Echoes: models that compute next to nothing, so that what is left of a request is everything else.

A directory written here is served like any other model, so that a request takes the whole way: body, checks, job,
scheduler, batch, runner, answer.
"""

from pathlib import Path

import numpy as np

from benchmarks.works import Work
from contract import Capability
from contract.manifest import Data, Latent, Restoration
from tests.toys.directories import write_model
from tests.toys.graphs import Builder, Parts, spec

MODEL = "echo"


def write_echo(store: Path, work: Work) -> Path:
    """A model that takes what `work`'s takes and gives what it gives, without its arithmetic."""
    if work.kind == "draw":
        data = Data(
            kind="image",
            dataset="none",
            shape=(1, work.side, work.side),
            value_range=(0.0, 1.0),
            class_names=tuple("0123456789"),
        )
        parts = {Capability.DECODE: _picture_of_label(work.side)}
        return write_model(store, MODEL, parts, data=data, latent=Latent(size=64), invariant=True)
    data = Data(kind="image", dataset="none", shape=(1, None, None), value_range=(0.0, 1.0))
    parts = {Capability.RECONSTRUCT: _identity()}
    undoes = Restoration(degradation="noise")
    return write_model(store, MODEL, parts, data=data, restoration=undoes, sigma_range=(0.0, 1.0), invariant=True)


def _picture_of_label(side: int) -> Parts:
    """x = table[label]; the latent is drawn and sent along, and not looked at."""
    b = Builder()
    table = np.random.default_rng(0).random((10, 1, side, side)).astype(np.float32)
    b("Gather", b.weight(table), "label", out="x")
    inputs = (spec("z", "float32", "batch", 64), spec("label", "int64", "batch"))
    outputs = (spec("x", "float32", "batch", 1, side, side),)
    return b.model("picture_of_label", inputs, outputs), inputs, outputs


def _identity() -> Parts:
    """x_hat = x."""
    b = Builder()
    b("Identity", "x", out="x_hat")
    inputs = (spec("x", "float32", "batch", 1, "height", "width"), spec("sigma", "float32", "batch"))
    outputs = (spec("x_hat", "float32", "batch", 1, "height", "width"),)
    return b.model("identity", inputs, outputs), inputs, outputs
