"""What two graphs have in common is stored once, and they compute what they computed."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from contract import Capability
from contract.manifest import Graph
from service.engine.brake import Brake
from service.sessions import open_session as open_served
from service.settings import Settings
from training.graphs import open_session, sha256, specs
from training.sharing import WEIGHTS_NAME, share_weights

SIDE = 96  # a matrix of 36 KiB
RNG = np.random.default_rng(0)
COMMON, FIRST, SECOND = (RNG.standard_normal((SIDE, SIDE)).astype(np.float32) for _ in range(3))
X = RNG.standard_normal((3, SIDE)).astype(np.float32)


def write(directory, file, matrices):
    """x -> x times each of the matrices."""
    names = [f"{file}-w{i}" for i in range(len(matrices))]  # the exporter names them as it likes
    values = ["x", *(f"h{i}" for i in range(1, len(matrices))), "embedding"]
    graph = helper.make_graph(
        [helper.make_node("MatMul", [values[i], names[i]], [values[i + 1]]) for i in range(len(matrices))],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", SIDE])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", SIDE])],
        [numpy_helper.from_array(matrix, name) for matrix, name in zip(matrices, names, strict=True)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), directory / file)
    session = open_session(directory / file)
    ports = {"inputs": specs(session.get_inputs()), "outputs": specs(session.get_outputs())}
    return Graph(file=file, sha256=sha256(directory / file), **ports)


def run(directory, file):
    return open_session(directory / file).run(None, {"x": X})[0]


@pytest.fixture
def graphs(tmp_path):
    return {
        Capability.ENCODE: write(tmp_path, "encode.onnx", [COMMON, FIRST]),
        Capability.DECODE: write(tmp_path, "decode.onnx", [SECOND, COMMON]),
        Capability.RECONSTRUCT: write(tmp_path, "reconstruct.onnx", [SECOND + 1]),
    }


def test_outputs_stay_the_same_to_the_last_bit(graphs, tmp_path):
    before = {graph.file: run(tmp_path, graph.file) for graph in graphs.values()}
    share_weights(tmp_path, graphs)
    for file, expected in before.items():
        assert np.array_equal(run(tmp_path, file), expected)


def test_the_common_part_is_there_once_and_the_rest_where_it_was(graphs, tmp_path):
    share_weights(tmp_path, graphs)
    assert (tmp_path / WEIGHTS_NAME).read_bytes() == COMMON.tobytes()
    own = {file: (tmp_path / file).read_bytes() for file in ("encode.onnx", "decode.onnx", "reconstruct.onnx")}
    assert FIRST.tobytes() in own["encode.onnx"]
    assert SECOND.tobytes() in own["decode.onnx"]
    assert not any(COMMON.tobytes() in content for content in own.values())


def test_hashes_are_those_of_the_files_and_the_service_opens_them(graphs, tmp_path):
    shared = share_weights(tmp_path, graphs)
    for capability, graph in shared.items():
        open_served(tmp_path, capability, graph, Settings(provider="cpu"), "cpu", Brake(), 1)
    assert shared[Capability.ENCODE].external_data[0].sha256 == sha256(tmp_path / WEIGHTS_NAME)
    assert shared[Capability.RECONSTRUCT] == graphs[Capability.RECONSTRUCT]


def test_graphs_with_nothing_in_common_stay_as_they_are(graphs, tmp_path):
    apart = {c: graphs[c] for c in (Capability.ENCODE, Capability.RECONSTRUCT)}
    assert share_weights(tmp_path, apart) == apart
    assert not (tmp_path / WEIGHTS_NAME).exists()
