"""Kernels are chosen where nobody has, and graphs are rewritten only into what they are."""

import os

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from contract.kernels import choose_kernels, halve_attention, transpose_convolutions
from tests.toys import graphs

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


class TestAttentionInFloat16:
    def test_of_a_text_graph_the_attention_alone_is_rounded(self) -> None:
        model = graphs.next_token(graphs.Language(11, 16))[0]
        before = {
            node.op_type: len([n for n in model.graph.node if n.op_type == node.op_type]) for node in model.graph.node
        }
        changed = halve_attention(model)
        caches = {f"{i}.{kind}" for i in range(2) for kind in ("key", "value")}
        assert changed == {f"{side}.{name}" for side in ("past_key_values", "present") for name in caches}
        session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        for port in (*session.get_inputs(), *session.get_outputs()):
            assert (port.type == "tensor(float16)") == (port.name in changed)
        after = {name: len([n for n in model.graph.node if n.op_type == name]) for name in before}
        assert after == before | {
            "Cast": before["Cast"] + 2 * 4
        }  # queries with keys and values, two tables, the result

    def test_logits_are_close_and_not_the_same(self) -> None:
        plain, halved = graphs.next_token(graphs.Language(11, 16))[0], graphs.next_token(graphs.Language(11, 16))[0]
        halve_attention(halved)
        found = []
        for model, kind in ((plain, np.float32), (halved, np.float16)):
            session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
            caches = [port.name for port in session.get_inputs() if port.name.startswith("past")]
            feed = {
                "input_ids": np.arange(7)[None],
                "seqlens_k": np.int32([6]),
                "total_sequence_length": np.array(7, np.int32),
            }
            found.append(session.run(["logits"], feed | {n: np.zeros((1, 1, 16, 16), kind) for n in caches})[0])
        assert 0 < np.abs(found[0] - found[1]).max() < 1e-2

    def test_a_graph_without_attention_is_as_it_was(self) -> None:
        model = _upsampling()
        before = model.SerializeToString()
        assert halve_attention(model) == frozenset()
        assert model.SerializeToString() == before
