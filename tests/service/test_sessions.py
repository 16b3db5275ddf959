"""Sessions of graphs: what is done to a graph before it is opened, and what is not done in its place."""

import logging
import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto

from contract import Capability, read_manifest
from service.engine.brake import Brake
from service.loading import load_model
from service.providers import CUDA, find_device
from service.sessions import ModelRefused, _in_float16, open_session
from service.settings import Settings
from tests.service.engine.sessions import latents
from tests.toys import directories, graphs


def test_a_graph_in_float16_takes_and_gives_what_it_did(tmp_path: Path) -> None:
    proto = graphs.decode()[0]
    whole = proto.SerializeToString()
    onnx.save(proto, tmp_path / "apart.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    apart = (tmp_path / "apart.onnx").read_bytes()
    expected = opened(whole).run(None, latents(5))[0]
    for blob in (whole, apart):
        half = _in_float16(onnx.load_model_from_string(blob), tmp_path)
        kinds = {tensor.data_type for tensor in onnx.load_model_from_string(half).graph.initializer if tensor.dims}
        assert TensorProto.FLOAT16 in kinds
        assert TensorProto.FLOAT not in kinds
        found = opened(half).run(None, latents(5))[0]
        assert found.dtype == np.float32
        assert 0 < np.abs(found - expected).max() < 2e-3


def opened(blob: bytes) -> ort.InferenceSession:
    return ort.InferenceSession(blob, providers=["CPUExecutionProvider"])


@pytest.mark.skipif(CUDA not in ort.get_available_providers(), reason="this onnxruntime was built without CUDA")
class TestWithoutTheGpuThatIsWanted:
    """ONNX Runtime itself falls back to the CPU without an error."""

    @pytest.fixture(autouse=True)
    def no_gpu(self) -> None:
        if find_device("auto") == "cuda":
            pytest.skip("this machine has a GPU")

    def test_a_graph_is_refused_where_it_is_demanded(self, tmp_path: Path) -> None:
        with pytest.raises(ModelRefused, match=f"expected to run on {CUDA}, found CPUExecutionProvider"):
            load_model(directories.write_generator(tmp_path), Settings(provider="cuda"), "cuda")

    def test_a_graph_runs_on_the_cpu_where_it_is_not_and_is_logged(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        model = load_model(directories.write_generator(tmp_path), Settings(provider="auto"), "cuda")
        assert set(model.providers.values()) == {"CPUExecutionProvider"}
        assert f"expected to run on {CUDA}" in caplog.text


def test_text_stays_on_the_cpu_of_a_machine_with_a_gpu_and_it_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = directories.write_writer(tmp_path)
    with caplog.at_level(logging.INFO, "amostra.loading"):
        model = load_model(directory, Settings(provider="auto"), "cuda")
    assert model.providers[Capability.NEXT_TOKEN] == "CPUExecutionProvider"
    assert "next_token.onnx stays on the CPU" in caplog.text


@pytest.mark.parametrize("pins", [True, False])
def test_the_second_thread_of_a_wide_session_keeps_to_the_second_core(
    tmp_path: Path, pins: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    directory = directories.write_generator(tmp_path)
    graph = read_manifest(directory).capabilities[Capability.DECODE]
    told: list[str] = []

    class Told(ort.SessionOptions):
        def add_session_config_entry(self, key: str, value: str) -> None:
            if key == "session.intra_op_thread_affinities":
                told.append(value)
            super().add_session_config_entry(key, value)

    monkeypatch.setattr(ort, "SessionOptions", Told)
    for threads in (1, 2):
        open_session(directory, Capability.DECODE, graph, Settings(pin_workers=pins), "cpu", Brake(), threads)
    assert told == (["2"] if pins else [])
