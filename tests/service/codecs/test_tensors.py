"""Tensors of the Open Inference Protocol: what is sent comes back, in JSON and in binary, and nothing else is taken."""

from typing import Any

import numpy as np
import orjson
import pytest

from service.api.parsing import parse_json
from service.codecs import tensors
from service.errors import AmostraError, BadRequest, Invalid
from service.inference_schemas import InferBody

ARRAYS = [
    np.array([[0.1, -2.5e-8, 3.4e38], [1 / 3, 0.0, -1.0]], np.float32),
    np.array([[0.1, -2.5, 65504.0]], np.float16),
    np.array([2**53, -(2**53), 0], np.int64),
    np.array([2**31 - 1, -(2**31)], np.int32),
    np.array([0, 255], np.uint8),
    np.array([True, False]),
    np.array(7, np.int32),
    np.zeros((0, 3), np.float32),
]


def read(blob: bytes, length: int | None = None, *, apart: bool = False) -> dict[str, np.ndarray]:
    """A body as the route reads it; of an answer too, which has outputs in the place of inputs."""
    json = blob[: len(blob) if length is None else length]
    json, arrays = tensors.numbers_apart(json) if apart else (json, [])
    return tensors.decode(parse_json(json, InferBody), memoryview(blob)[length or len(blob) :], arrays)


def asked(*inputs: dict[str, Any]) -> bytes:
    return orjson.dumps({"inputs": list(inputs)})


def x(**changes: Any) -> dict[str, Any]:
    return {"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2], **changes}


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("apart", [True, False])
def test_what_is_written_is_read(binary: bool, apart: bool) -> None:
    outputs = {f"t{i}": array for i, array in enumerate(ARRAYS)}
    blob, length = tensors.encode({"id": "1"}, outputs, list(outputs) if binary else [])
    assert (length is not None) == binary
    said = blob.replace(b"outputs", b"inputs", 1)
    found = read(said, None if length is None else length - 1, apart=apart)
    for name, array in outputs.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("binary", [True, False])
def test_integers_of_64_bits_are_exact_or_refused(binary: bool) -> None:
    array = np.array([2**63 - 1, -(2**63), 2**53 + 1], np.int64)
    blob, length = tensors.encode({"id": "1"}, {"t": array}, ["t"] if binary else [])
    said = blob.replace(b"outputs", b"inputs", 1)
    np.testing.assert_array_equal(read(said, None if length is None else length - 1)["t"], array)
    for number in (2**63 - 1, 2**53 + 2):
        with pytest.raises(Invalid, match=r"INT64|binary"):
            read(asked(x(datatype="INT64", data=[number, 0])), apart=True)


def test_binary_and_json_mix() -> None:
    outputs = {"a": ARRAYS[0], "b": ARRAYS[2], "c": ARRAYS[5]}
    blob, length = tensors.encode({"id": "1"}, outputs, ["a", "c"])
    assert length is not None
    json = orjson.loads(blob[:length])
    assert [output.get("parameters") for output in json["outputs"]] == [
        {"binary_data_size": 24},
        None,
        {"binary_data_size": 2},
    ]
    assert json["outputs"][1]["data"] == ARRAYS[2].tolist()
    assert blob[length:] == ARRAYS[0].tobytes() + ARRAYS[5].tobytes()


def test_nested_lists_are_read_in_row_major_order() -> None:
    found = read(asked(x(shape=[2, 2], data=[[1, 2], [3, 4]])))
    np.testing.assert_array_equal(found["x"], [[1, 2], [3, 4]])


def test_numbers_in_binary_are_aligned() -> None:
    head = orjson.dumps({"inputs": [x(data=None, parameters={"binary_data_size": 8})]})
    for space in range(4):
        found = read(head + b" " * space + np.array([1, 2], np.float32).tobytes(), len(head) + space)["x"]
        assert found.flags.aligned
        np.testing.assert_array_equal(found, [1, 2])


def test_numbers_apart_stops_at_what_is_none() -> None:
    blob = asked(x(name="a"), x(name="b", datatype="BOOL", data=[True, False]), x(name="c"))
    rest, arrays = tensors.numbers_apart(blob)
    assert len(arrays) == 1
    assert orjson.loads(rest)["inputs"][0]["data"] is None
    found = read(blob, apart=True)
    assert {name: array.tolist() for name, array in found.items()} == {"a": [1, 2], "b": [True, False], "c": [1, 2]}


@pytest.mark.parametrize(
    ("given", "kind", "says"),
    [
        (x(data=[1]), Invalid, "expected 2 values for the shape [2], found 1"),
        (x(data=[1, "2"]), Invalid, "expected numbers"),
        (x(data=[1, None]), Invalid, "expected numbers"),
        (x(data=[True, 1]), Invalid, "expected numbers"),
        (x(data=[[1], 2]), Invalid, "expected numbers"),
        (x(data=[True, False]), Invalid, "values of FP32"),
        (x(data=[1e300, 0]), Invalid, "finite"),
        (x(datatype="FP16", data=[1e5, 0]), Invalid, "finite"),
        (x(datatype="INT64", data=[1.5, 0]), Invalid, "values of INT64"),
        (x(datatype="INT64", data=[9.3e18, 0]), Invalid, "values of INT64"),
        (x(datatype="INT64", data=[2**63, 0]), Invalid, "64 bits"),
        (x(datatype="INT32", data=[2**31, 0]), Invalid, "values of INT32"),
        (x(datatype="UINT8", data=[-1, 0]), Invalid, "values of UINT8"),
        (x(datatype="UINT8", data=[256, 0]), Invalid, "values of UINT8"),
        (x(datatype="BOOL", data=[2, 0]), Invalid, "values of BOOL"),
        (x(datatype="BYTES", data=["a", "b"]), Invalid, "found 'BYTES'"),
        (x(data=None), Invalid, "found neither"),
        (x(parameters={"binary_data_size": 8}), Invalid, "found both"),
        (x(data=None, parameters={"binary_data_size": 4}), Invalid, "expected 8"),
        (x(data=None, parameters={"binary_data_size": "8"}), Invalid, "expected 8"),
        (x(data=None, parameters={"binary_data_size": 8}), BadRequest, "Inference-Header-Content-Length"),
        (x(shape=[-2]), Invalid, "shape"),
        (x(shape=[1] * 9), Invalid, "shape"),
        (x(shape=[2**31]), Invalid, "shape"),
        (x(shape=[2**30, 2**30, 2**30], data=None, parameters={"binary_data_size": 0}), Invalid, "binary_data_size"),
    ],
)
def test_what_does_not_fit_is_refused(given: dict[str, Any], kind: type[AmostraError], says: str) -> None:
    with pytest.raises(kind, match=r"x|shape") as refused:
        read(asked({name: value for name, value in given.items() if value is not None}))
    assert says in refused.value.detail


def test_the_body_has_as_many_bytes_as_it_says() -> None:
    head = orjson.dumps({"inputs": [{**x(parameters={"binary_data_size": 8}), "data": None}]})
    with pytest.raises(BadRequest, match="expected 8 bytes of tensors behind the JSON, found 9"):
        read(head + bytes(9), len(head))
    with pytest.raises(Invalid, match="expected each input once"):
        read(asked(x(), x()))


@pytest.mark.parametrize("values", [b"\x00\x02", b"\xff\x00"])
def test_booleans_in_binary_are_0_or_1(values: bytes) -> None:
    head = orjson.dumps(
        {"inputs": [{"name": "x", "shape": [2], "datatype": "BOOL", "parameters": {"binary_data_size": 2}}]}
    )
    with pytest.raises(Invalid, match="0 or 1"):
        read(head + values, len(head))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_in_binary_are_finite(value: float) -> None:
    head = orjson.dumps(
        {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 4}}]}
    )
    with pytest.raises(Invalid, match="finite"):
        read(head + np.array([value], np.float32).tobytes(), len(head))
