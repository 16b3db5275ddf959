"""Sessions of graphs: what is done to a graph before it is opened."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto

from service.sessions import _in_float16
from tests.service.engine.sessions import latents
from tests.toys import graphs


def test_a_graph_in_float16_takes_and_gives_what_it_did(tmp_path: Path) -> None:
    proto = graphs.decode()[0]
    whole = proto.SerializeToString()
    onnx.save(proto, tmp_path / "apart.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    apart = (tmp_path / "apart.onnx").read_bytes()
    expected = opened(whole).run(None, latents(5))[0]
    for blob in (whole, apart):
        half = _in_float16(blob, tmp_path)
        kinds = {tensor.data_type for tensor in onnx.load_model_from_string(half).graph.initializer if tensor.dims}
        assert TensorProto.FLOAT16 in kinds
        assert TensorProto.FLOAT not in kinds
        found = opened(half).run(None, latents(5))[0]
        assert found.dtype == np.float32
        assert 0 < np.abs(found - expected).max() < 2e-3


def opened(blob: bytes) -> ort.InferenceSession:
    return ort.InferenceSession(blob, providers=["CPUExecutionProvider"])
