"""Kernels are chosen where nobody has, and graphs are rewritten only into what they are."""

import os

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from contract.kernels import choose_kernels, transpose_convolutions

TILED = "ORT_GQA_DISABLE_FLASH_ATTENTION"
FLOAT = onnx.TensorProto.FLOAT


@pytest.mark.parametrize(("before", "after"), [(None, "1"), ("0", "0")])
def test_an_operators_own_choice_stands(before: str | None, after: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if before is None:
        monkeypatch.delenv(TILED, raising=False)
    else:
        monkeypatch.setenv(TILED, before)
    choose_kernels()
    assert os.environ[TILED] == after


def _upsampling(
    mode: str | None = "CRD",
    r: int = 2,
    *,
    kernel: int = 1,
    bias: bool = False,
    half: bool = False,
    also: bool = False,
    **attributes: object,
) -> onnx.ModelProto:
    """Two stages of 6 -> 5 -> 3 channels: a convolution and a pixel shuffle each, and a ReLU between them. `also` gives out
    what the second convolution computes too."""
    rng = np.random.default_rng(0)
    nodes, weights, last = [], [], "x"
    for stage, (inputs, outputs) in enumerate(((6, 5), (5, 3))):
        w = rng.standard_normal((outputs * r * r, inputs, kernel, kernel)).astype(np.float16 if half else np.float32)
        names = [f"w{stage}"]
        weights.append(numpy_helper.from_array(w, names[0]))
        if half:
            nodes.append(helper.make_node("Cast", names, ["cast " + names[0]], to=FLOAT))
            names = ["cast " + names[0]]
        if bias:
            names.append(f"b{stage}")
            weights.append(numpy_helper.from_array(rng.standard_normal(len(w)).astype(np.float32), names[1]))
        given = {"pads": [kernel // 2] * 4, **attributes}
        nodes.append(helper.make_node("Conv", [last, *names], [f"wide{stage}"], **given))
        shuffle = {"blocksize": r} | ({"mode": mode} if mode else {})
        nodes.append(helper.make_node("DepthToSpace", [f"wide{stage}"], [f"y{stage}"], **shuffle))
        last = f"y{stage}"
        if stage == 0:
            nodes.append(helper.make_node("Relu", [last], ["relu"]))
            last = "relu"
    graph = helper.make_graph(
        nodes,
        "upsampling",
        [helper.make_tensor_value_info("x", FLOAT, ["batch", 6, "height", "width"])],
        [
            helper.make_tensor_value_info(name, FLOAT, [f"{name} {i}" for i in range(4)])
            for name in (["y1", "wide1"] if also else ["y1"])
        ],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def _run(model: onnx.ModelProto) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(1).standard_normal((3, 6, 5, 7)).astype(np.float32)
    return session.run(["y1"], {"x": x})[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("r", [2, 3])
@pytest.mark.parametrize("mode", ["CRD", "DCR", None])
def test_pixel_shuffles_become_transposed_convolutions(mode: str | None, r: int, half: bool) -> None:
    model = _upsampling(mode, r, half=half)
    before = _run(model)
    assert transpose_convolutions(model)
    onnx.checker.check_model(model)
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("ConvTranspose") == 2
    assert not {"Conv", "DepthToSpace"} & set(kinds)
    np.testing.assert_allclose(_run(model), before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "given",
    [{"kernel": 3}, {"bias": True}, {"strides": [2, 2]}, {"pads": [1, 1, 1, 1]}],
    ids=lambda given: next(iter(given)),
)
def test_other_convolutions_stay(given: dict) -> None:
    model = _upsampling(**given)
    before = model.SerializeToString()
    assert not transpose_convolutions(model)
    assert model.SerializeToString() == before


def test_a_convolution_that_others_need_stays() -> None:
    model = _upsampling(also=True)
    before = _run(model)
    assert transpose_convolutions(model)
    assert [node.op_type for node in model.graph.node].count("Conv") == 1
    np.testing.assert_allclose(_run(model), before, rtol=1e-5, atol=1e-5)
