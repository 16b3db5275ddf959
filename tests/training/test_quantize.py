"""Weights of 8 and of 16 bits: as the float32 graph within the tolerance, independent of the batch, and served."""

import copy
import math
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from contract import Capability, read_manifest
from service.engine.sequence_parts import SequenceParts
from service.loading import load_model
from service.settings import Settings
from training.export import export
from training.family import GraphExport
from training.graphs import ExportRefused, open_session, to_onnx, write_graph
from training.loop import Trained
from training.quantize import BLOCK, TOLERANCE, float16_weights, int8_weights, with_float16_weights, with_int8_weights
from training.recipe import load_recipe

from .conftest import tiny

SIZES = (1, 2, 3, 8)


@pytest.fixture(scope="module")
def next_token(tiny_gpt):
    return next(g for g in tiny_gpt.graphs() if g.capability is Capability.NEXT_TOKEN)


@pytest.fixture(scope="module")
def stores(next_token, tiny_gpt, tiny_data, tmp_path_factory):
    """Directories with the tiny model's next_token graph, by its weights; the one of 8 bits is a model's."""
    plain = tmp_path_factory.mktemp("float32")
    to_onnx(next_token, plain / "next_token.onnx")
    writer = copy.deepcopy(tiny_gpt)
    writer.graphs = lambda: [next_token]
    changes = {"name": "tiny-int8", "export.weights": "int8", "export.batch_sizes": [*SIZES]}
    recipe = load_recipe("shakespeare-gpt", tiny(**changes))
    small = export(recipe, Trained(writer, 1, 1.0, "none"), tiny_data, tmp_path_factory.mktemp("store"))
    return {"float32": plain, "int8": small}


def step(directory, rows, vocabulary, context):
    """Logits (rows, V) of one token on top of random pasts of different lengths."""
    session, rng = open_session(directory / "next_token.onnx"), np.random.default_rng(0)
    inputs = {
        "input_ids": rng.integers(vocabulary, size=(8, 1)),
        "seqlens_k": rng.integers(4, context, 8).astype(np.int32),
    }
    for port in session.get_inputs():
        if port.name.startswith("past"):
            inputs[port.name] = rng.normal(size=(8, port.shape[1], context, port.shape[3])).astype(np.float32)
    inputs = {name: value[rows] for name, value in inputs.items()}
    return session.run(["logits"], inputs | {"total_sequence_length": np.array(context, np.int32)})[0]


def test_logits_stay_within_the_tolerance_and_the_likeliest_token_is_one_of_the_likeliest(stores, tiny_gpt):
    sizes = tiny_gpt.data.vocabulary, tiny_gpt.config.context
    plain, small = (step(stores[weights], slice(0, 8), *sizes) for weights in ("float32", "int8"))
    assert 0 < np.abs(small - plain).max() <= TOLERANCE
    chosen = small.argmax(-1)
    assert (plain.max(-1) - plain[np.arange(8), chosen] <= 2 * TOLERANCE).all()


@pytest.mark.parametrize("size", SIZES)
def test_a_row_does_not_depend_on_its_batch(size, stores, tiny_gpt):
    sizes = tiny_gpt.data.vocabulary, tiny_gpt.config.context
    whole = step(stores["int8"], slice(0, 8), *sizes)
    for first in range(0, 9 - size):
        rows = slice(first, first + size)
        assert np.array_equal(step(stores["int8"], rows, *sizes), whole[rows])


def test_the_manifest_records_it_and_the_service_loads_it(stores):
    manifest = read_manifest(stores["int8"])
    graph = manifest.capabilities[Capability.NEXT_TOKEN]
    assert 1e-4 < graph.parity.max_abs_diff <= graph.parity.tolerance == TOLERANCE
    assert graph.batch_invariance.max_abs_diff == 0
    model = load_model(stores["int8"], Settings(provider="cpu"), "cpu")
    assert isinstance(model.runners[Capability.NEXT_TOKEN], SequenceParts)


def test_weights_take_a_byte_and_every_block_a_scale(stores):
    def weights(name):
        tensors = onnx.load(stores[name] / "next_token.onnx").graph.initializer
        return {t.name: t for t in tensors if t.data_type in (TensorProto.FLOAT, TensorProto.UINT8)}

    plain, small = weights("float32"), weights("int8")
    matrices = [tensor.dims for name, tensor in plain.items() if name not in small]
    assert len(matrices) == 8  # four of each block; the head stays as it was
    blocks = sum(math.ceil(inputs / BLOCK) * outputs for inputs, outputs in matrices)
    assert sum(len(t.raw_data) for name, t in small.items() if name not in plain) == blocks * (BLOCK + 4)


def test_what_cannot_be_quantised_is_refused():
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "plain", ports[:1], ports[1:])
    with pytest.raises(ValueError, match="weights: expected a product with a constant float32 matrix, found none"):
        int8_weights(helper.make_model(graph))


def test_the_gate_still_refuses_what_is_wrong(next_token, tiny_data, tmp_path):
    class Shifted(torch.nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, *inputs):
            return self.module(*inputs) + 2 * TOLERANCE

    graph = with_int8_weights(next_token)
    with pytest.raises(ExportRefused, match=r"the tolerance is 0\.3"):
        write_graph(replace(graph, reference=Shifted(graph.reference)), tiny_data.validation, tmp_path, (1, 3))


class Network(torch.nn.Module):
    """x (B, 1, 8, 8) -> (B, 3)."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.kernels = torch.nn.Conv2d(1, 16, 3)
        self.matrix = torch.nn.Linear(16, 3)

    def forward(self, x):
        return self.matrix(self.kernels(x).mean((2, 3)))


@pytest.fixture
def network():
    return GraphExport(
        Capability.ENCODE,
        Network(),
        {"x": torch.rand(4, 1, 8, 8)},
        ("embedding",),
        {"x": {0: "batch"}},
        inputs=lambda batch: {"x": batch["x"]},
        tolerance=1e-6,
    )


def test_16_bits_are_as_torch_within_the_tolerance(network, tmp_path):
    small = with_float16_weights(network)
    to_onnx(small, tmp_path / "small.onnx")
    x = network.example["x"]
    (found,) = open_session(tmp_path / "small.onnx").run(None, {"x": x.numpy()})
    with torch.no_grad():
        assert 0 < np.abs(found - network.module(x).numpy()).max() < small.tolerance == 2e-3


def test_16_bits_take_half_and_leave_short_rows_alone(network, tmp_path):
    to_onnx(with_float16_weights(network), tmp_path / "small.onnx")
    kinds = {t.name.split()[0]: t.data_type for t in onnx.load(tmp_path / "small.onnx").graph.initializer}
    assert {name for name, kind in kinds.items() if kind == TensorProto.FLOAT16} == {"kernels.weight", "matrix.weight"}
    assert {name for name, kind in kinds.items() if kind == TensorProto.FLOAT} >= {"kernels.bias", "matrix.bias"}


def test_a_weight_beyond_float16_is_refused(network, tmp_path):
    network.module.matrix.weight.data[0, 0] = 1e6
    to_onnx(network, tmp_path / "plain.onnx")
    with pytest.raises(ValueError, match=r"matrix\.weight has values beyond float16's 65504: export float32 weights"):
        float16_weights(onnx.load(tmp_path / "plain.onnx"))
