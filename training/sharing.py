"""Weights that several graphs of a model have in common are stored once, in a file beside them.

A text model writes by one graph and measures by another, with the same weights in both.
"""

from collections import Counter
from hashlib import sha256
from pathlib import Path

import onnx
from onnx import TensorProto

from contract import Capability
from contract.manifest import FileRef, Graph
from training.graphs import sha256 as hash_of

WEIGHTS_NAME = "weights.bin"
LEAST_BYTES = 2**14
"""Smaller tensors stay where they are."""
_PAGE = 4096  # offsets in multiples of it can be mapped into memory


def share_weights(directory: Path, graphs: dict[Capability, Graph]) -> dict[Capability, Graph]:
    """Move what several graphs have in common into one file, and return them with their new hashes."""
    protos = {capability: onnx.load(directory / graph.file) for capability, graph in graphs.items()}
    large = {capability: _large(proto) for capability, proto in protos.items()}
    owners = Counter(digest for tensors in large.values() for digest in {digest for digest, _ in tensors})
    places: dict[bytes, int] = {}
    moved = []
    with (directory / WEIGHTS_NAME).open("wb") as file:
        for capability, tensors in large.items():
            common = [(digest, tensor) for digest, tensor in tensors if owners[digest] > 1]
            for digest, tensor in common:
                content = tensor.raw_data
                if digest not in places:
                    file.write(bytes(-file.tell() % _PAGE))
                    places[digest] = file.tell()
                    file.write(content)
                _refer(tensor, places[digest], len(content))
            if common:
                onnx.save(protos[capability], directory / graphs[capability].file)
                moved.append(capability)
    if not moved:
        (directory / WEIGHTS_NAME).unlink()
        return graphs
    weights = FileRef(file=WEIGHTS_NAME, sha256=hash_of(directory / WEIGHTS_NAME))
    changed = {
        capability: graphs[capability].model_copy(
            update={"sha256": hash_of(directory / graphs[capability].file), "external_data": (weights,)}
        )
        for capability in moved
    }
    return graphs | changed


def _large(proto: onnx.ModelProto) -> list[tuple[bytes, TensorProto]]:
    """Tensors that are worth it, each after its content's hash."""
    tensors = (tensor for tensor in proto.graph.initializer if len(tensor.raw_data) >= LEAST_BYTES)
    return [(sha256(tensor.raw_data).digest(), tensor) for tensor in tensors]


def _refer(tensor: TensorProto, offset: int, length: int) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", WEIGHTS_NAME), ("offset", offset), ("length", length)):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, str(value)
