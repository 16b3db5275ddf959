"""The Open Inference Protocol: every graph of every model is found, described and run, and bad tensors are refused."""

import asyncio
import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime as ort
import orjson
import pytest

from contract import Capability, read_manifest
from service.codecs import tensors
from service.keys import new_key
from tests.service.api.client import Api, Conversation, said
from tests.toys.directories import (
    CHARACTERS,
    CONTEXT,
    DENOISER,
    DENSITY,
    DETECTOR,
    DIFFUSION,
    GENERATOR,
    PIXELS,
    START,
    TABLE,
    TOYS,
    WRITER,
    write_pixels,
)

LENGTH = "inference-header-content-length"
OCTETS = "application/octet-stream"
TYPES = {"float32": "FP32", "int64": "INT64", "int32": "INT32"}


def request(inputs: dict[str, np.ndarray], binary: bool = True, **more: Any) -> tuple[bytes, dict[str, str]]:
    """A request's body and headers, as Triton's client makes them."""
    told, behind = [], []
    for name, array in inputs.items():
        about: dict[str, Any] = {"name": name, "shape": list(array.shape), "datatype": TYPES[array.dtype.name]}
        if binary:
            about["parameters"] = {"binary_data_size": array.nbytes}
            behind.append(array.tobytes())
        else:
            about["data"] = array.reshape(-1).tolist()
        told.append(about)
    json = orjson.dumps({"inputs": told, **more})
    return b"".join([json, *behind]), {LENGTH: str(len(json))} if binary else {}


def read(answer: httpx.Response) -> dict[str, np.ndarray]:
    """The outputs of an answer, whichever way they come."""
    assert answer.status_code == 200, answer.text
    length = int(answer.headers.get(LENGTH, len(answer.content)))
    assert answer.headers["content-type"] == (OCTETS if LENGTH in answer.headers else "application/json")
    at, found = length, {}
    for output in orjson.loads(answer.content[:length])["outputs"]:
        dtype = np.dtype(next(name for name, said in tensors.DATATYPES.items() if said == output["datatype"]))
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            array = np.array(output["data"], dtype)
        else:
            array, at = np.frombuffer(answer.content[at : at + size], dtype), at + size
        found[output["name"]] = array.reshape(output["shape"])
    assert at == len(answer.content)
    return found


def infer(api: Api, name: str, inputs: dict[str, np.ndarray], binary: bool = True, **more: Any) -> httpx.Response:
    content, headers = request(inputs, binary, **more)
    return api.post(f"/v2/models/{name}/infer", content=content, headers=headers)


def direct(api: Api, name: str, graph: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What ONNX Runtime itself makes of them."""
    session = ort.InferenceSession(
        api.settings.models / name / "1" / f"{graph}.onnx", providers=["CPUExecutionProvider"]
    )
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, inputs), strict=True))


def sample_inputs(described: dict[str, Any], rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Random inputs by what the metadata say."""
    rng = np.random.default_rng(seed)
    made: dict[str, np.ndarray] = {}
    for tensor in described["inputs"]:
        name, shape = tensor["name"], [rows, *(8 if side == -1 else side for side in tensor["shape"][1:])]
        if name == "total_sequence_length":
            made[name] = np.array(8, np.int32)
        elif name == "seqlens_k":
            made[name] = np.full(rows, 7, np.int32)
        elif name in ("input_ids", "label", "lengths"):
            made[name] = rng.integers(1, 4, shape)
        else:
            made[name] = rng.uniform(0.05, 0.2, shape).astype(np.float32)
    return made


def graphs(api: Api) -> list[str]:
    return [item["name"] for item in api.post("/v2/repository/index").json()]


def test_the_server_says_what_it_is(api: Api) -> None:
    about = api.get("/v2").json()
    assert (about["name"], about["extensions"]) == ("amostra", ["binary_tensor_data"])
    assert about["version"] == api.get("/openapi.json").json()["info"]["version"]
    assert api.get("/v2/health/live").json() == {"live": True}
    assert api.get("/v2/health/ready").json() == {"ready": True}


def test_it_is_not_ready_without_models(make_api: Callable[..., Api], tmp_path: Path) -> None:
    api = make_api(models=tmp_path / "nothing")
    assert api.get("/v2/health/live").status_code == 200
    answer = api.get("/v2/health/ready")
    assert (answer.status_code, list(answer.json())) == (503, ["error"])


def test_every_graph_is_listed_described_and_ready(api: Api) -> None:
    found = api.post("/v2/repository/index", json={"ready": True}).json()
    manifests = [read_manifest(api.settings.models / name / "1") for name in TOYS]
    assert {item["name"] for item in found} == {f"{m.name}.{c}" for m in manifests for c in m.capabilities}
    assert {(item["version"], item["state"], item["reason"]) for item in found} == {("1", "READY", "")}
    for manifest in manifests:
        for capability, graph in manifest.capabilities.items():
            name = f"{manifest.name}.{capability}"
            assert api.get(f"/v2/models/{name}/ready").json() == {"name": name, "ready": True}
            about = api.get(f"/v2/models/{name}").json()
            assert (about["name"], about["versions"], about["platform"]) == (name, ["1"], "onnxruntime_onnx")
            for told, tensors_of in ((about["inputs"], graph.inputs), (about["outputs"], graph.outputs)):
                assert [tensor["name"] for tensor in told] == [tensor.name for tensor in tensors_of]
                assert [tensor["datatype"] for tensor in told] == [TYPES[tensor.dtype] for tensor in tensors_of]
                sides = [[side if isinstance(side, int) else -1 for side in tensor.shape] for tensor in tensors_of]
                assert [tensor["shape"] for tensor in told] == sides


def test_a_model_s_name_alone_is_its_first_graph(api: Api) -> None:
    for name in TOYS:
        first = next(iter(read_manifest(api.settings.models / name / "1").capabilities))
        alone, full = (api.get(f"/v2/models/{n}").json() for n in (name, f"{name}.{first}"))
        assert alone == {**full, "name": name}


def test_versions_are_told_apart(make_api: Callable[..., Api], store: Path) -> None:
    write_pixels(store, version="2")
    api = make_api()
    graph = f"{PIXELS}.next_token"
    assert api.get(f"/v2/models/{graph}").json()["versions"] == ["1", "2"]
    for version in ("1", "2"):
        path = f"/v2/models/{graph}/versions/{version}"
        about = api.get(path).json()
        assert api.get(f"{path}/ready").status_code == 200
        content, headers = request(sample_inputs(about, 1))
        assert api.post(f"{path}/infer", content=content, headers=headers).status_code == 200
        content, headers = request(sample_inputs(about, 1), binary=False)
        assert api.post(f"{path}/infer", content=content, headers=headers).json()["model_version"] == version
    answer = api.get(f"/v2/models/{graph}/versions/3")
    assert answer.status_code == 404
    assert "toy-pixels@3" in answer.json()["error"]


def test_a_refused_model_is_listed_and_not_ready(make_api: Callable[..., Api], store: Path) -> None:
    (store / DENSITY / "1" / "log_density.onnx").write_bytes(b"")
    api = make_api()
    assert DENSITY not in {item["name"] for item in api.post("/v2/repository/index", json={"ready": True}).json()}
    (found,) = (item for item in api.post("/v2/repository/index").json() if item["name"] == DENSITY)
    assert found["state"] == "UNAVAILABLE"
    assert "sha256" in found["reason"]
    assert api.get(f"/v2/models/{DENSITY}/ready").status_code == 503


def test_what_is_not_there_is_said_with_what_is(api: Api) -> None:
    for path in ("/v2/models/nobody", "/v2/models/nobody/ready", "/v2/models/mnist-gan@1"):
        answer = api.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/json")
        assert f"{GENERATOR}.decode" in answer.json()["error"]
    answer = api.get(f"/v2/models/{WRITER}.decode")
    assert answer.status_code == 404
    assert f"of {WRITER} there are {WRITER}.next_token, {WRITER}.log_density" in answer.json()["error"]
    assert isinstance(api.get("/v2/nowhere").json()["error"], str)
    assert isinstance(api.get(f"/v2/models/{GENERATOR}/infer").json()["error"], str)
    assert api.get("/v2x").headers["content-type"] == "application/problem+json"


def test_every_graph_runs_as_onnx_runtime_runs_it(api: Api) -> None:
    """Rows may be computed in batches of other sizes, which may change the last bits; in JSON and binary they are one."""
    names = graphs(api)
    assert len(names) > len(TOYS)
    for name in names:
        model, _, graph = name.partition(".")
        about = api.get(f"/v2/models/{name}").json()
        inputs = sample_inputs(about, 3)
        binary = read(infer(api, name, inputs, parameters={"binary_data_output": True}))
        assert list(binary) == [tensor["name"] for tensor in about["outputs"]]
        for output, expected in direct(api, model, graph, inputs).items():
            assert binary[output].dtype == expected.dtype
            np.testing.assert_allclose(binary[output], expected, rtol=1e-5, atol=1e-5, err_msg=f"{name} {output}")
        for output, array in read(infer(api, name, inputs, binary=False)).items():
            np.testing.assert_array_equal(array, binary[output])


def test_the_client_chooses_outputs_and_how_each_comes(api: Api) -> None:
    inputs = {"x": np.full((2, 1, 8, 8), 0.5, np.float32)}
    whole = read(infer(api, DETECTOR, inputs))
    answer = infer(api, DETECTOR, inputs, outputs=[{"name": "surprise", "parameters": {"binary_data": True}}], id="7")
    head = orjson.loads(answer.content[: int(answer.headers[LENGTH])])
    assert (head["id"], head["model_name"], head["model_version"]) == ("7", DETECTOR, "1")
    assert [output["name"] for output in head["outputs"]] == ["surprise"]
    np.testing.assert_array_equal(read(answer)["surprise"], whole["surprise"])
    mixed = infer(
        api,
        DETECTOR,
        inputs,
        parameters={"binary_data_output": True},
        outputs=[{"name": "surprise", "parameters": {"binary_data": False}}, {"name": "normality"}],
    )
    assert list(read(mixed)) == ["surprise", "normality"]
    told = orjson.loads(mixed.content[: int(mixed.headers[LENGTH])])["outputs"]
    assert ["data" in output for output in told] == [True, False]
    assert "id" not in infer(api, DETECTOR, inputs).json()


def test_a_request_gets_the_same_bytes_in_a_crowd(api: Api) -> None:
    requests = []
    for name in (f"{DIFFUSION}.denoise_step", f"{WRITER}.next_token", f"{DETECTOR}.score"):
        about = api.get(f"/v2/models/{name}").json()
        for seed in range(6):
            content, headers = request(
                sample_inputs(about, 1 + seed % 3, seed), parameters={"binary_data_output": True}
            )
            requests.append({"path": f"/v2/models/{name}/infer", "content": content, "headers": headers})
    text = {"path": "/v1/completions", "json": {"model": WRITER, "prompt": "To be", "max_tokens": 40, "seed": 1}}
    alone, written = [api.post(**one).content for one in requests], said(api.post(**text))
    *together, beside = api.together([{"method": "POST", **one} for one in [*requests, text]])
    assert [answer.content for answer in together] == alone
    assert said(beside) == written


def test_text_written_token_by_token_is_the_engine_s(api: Api) -> None:
    """The caller keeps the keys and values: present becomes past."""
    prompt = "To be"
    ids = [START, *(CHARACTERS.index(c) for c in prompt)]
    about = api.get(f"/v2/models/{WRITER}.next_token").json()
    shapes = {t["name"]: [1, t["shape"][1], CONTEXT, t["shape"][3]] for t in about["inputs"] if "past" in t["name"]}
    past = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    feed, length, text = np.array([ids]), len(ids), ""
    for _ in range(12):
        lengths = {"seqlens_k": np.array([length - 1], np.int32), "total_sequence_length": np.array(length, np.int32)}
        inputs = {"input_ids": feed, **lengths, **past}
        outputs = read(infer(api, f"{WRITER}.next_token", inputs, parameters={"binary_data_output": True}))
        token = int(outputs["logits"][0].argmax())
        text += CHARACTERS[token]
        past = {name: outputs[name.replace("past_key_values", "present")] for name in past}
        feed, length = np.array([[token]]), length + 1
    whole = api.post("/v1/completions", json={"prompt": prompt, "max_tokens": 12, "temperature": 0}).json()
    assert text == whole["choices"][0]["text"]


IMAGE = np.full((1, 1, 8, 8), 0.5, np.float32)
LATENT = {"z": np.zeros((2, 4), np.float32), "label": np.array([0, 9])}
NOISY = {"x_t": IMAGE, "sigma": np.array([1], np.float32), "label": np.array([10])}
TEXT = {"input_ids": np.array([[START, 1, 2]]), "lengths": np.array([3])}
CACHE = np.zeros((2, 1, 8, 16), np.float32)
STEP = {
    "input_ids": np.array([[1], [2]]),
    "seqlens_k": np.array([3, 0], np.int32),
    "total_sequence_length": np.array(4, np.int32),
    **{f"past_key_values.{i}.{kind}": CACHE for i in range(2) for kind in ("key", "value")},
}
LONE = {name: array[:1] if array.ndim else array for name, array in STEP.items()}
PHOTO = {"x": np.full((1, 1, 6, 8), 0.5, np.float32), "sigma": np.array([-1], np.float32)}


@pytest.mark.parametrize(
    ("name", "inputs"),
    [(GENERATOR, LATENT), (DIFFUSION, NOISY), (f"{WRITER}.log_density", TEXT), (WRITER, STEP), (DENOISER, PHOTO)],
)
def test_what_the_refusals_below_begin_with_is_sound(api: Api, name: str, inputs: dict[str, np.ndarray]) -> None:
    assert read(infer(api, name, inputs))


@pytest.mark.parametrize(
    ("name", "sound", "changes", "status", "says"),
    [
        (GENERATOR, LATENT, {"z": None}, 422, "z: expected float32[batch, 4], found none"),
        (GENERATOR, LATENT, {"y": IMAGE}, 422, "y: mnist-gan.decode has no such input; it takes z, label"),
        (GENERATOR, LATENT, {"z": np.zeros((2, 5), np.float32)}, 422, "found float32[2, 5]"),
        (GENERATOR, LATENT, {"z": np.zeros((3, 4), np.float32)}, 422, "with batch = 3, found int64[2]"),
        (GENERATOR, LATENT, {"z": np.zeros(4, np.float32)}, 422, "found float32[4]"),
        (GENERATOR, LATENT, {"z": np.zeros((2, 4), np.int64)}, 422, "found int64[2, 4]"),
        (GENERATOR, LATENT, {"z": np.full((2, 4), np.nan, np.float32)}, 422, "z: expected finite numbers"),
        (GENERATOR, LATENT, {"label": np.array([0, 10])}, 422, "label: expected values from 0 to 9, found 0 to 10"),
        (GENERATOR, LATENT, {"label": np.array([-1, 0])}, 422, "label: expected values from 0 to 9, found -1 to 0"),
        (GENERATOR, {}, {n: a[:0] for n, a in LATENT.items()}, 422, "expected 1 to 40 rows, found 0"),
        (GENERATOR, {}, {n: a[:1].repeat(41, 0) for n, a in LATENT.items()}, 413, "expected 1 to 40 rows, found 41"),
        (TABLE, {}, {"x": np.zeros((101, 3), np.float32)}, 413, "expected 1 to 100 rows, found 101"),
        (DIFFUSION, NOISY, {"label": np.array([11])}, 422, "label: expected values from 0 to 10"),
        (DIFFUSION, NOISY, {"sigma": np.array([21], np.float32)}, 422, "sigma: expected values from 0.01 to 20"),
        (DENOISER, PHOTO, {"x": np.zeros((1, 1, 7, 8), np.float32)}, 422, "multiples of 2, found 7 × 8"),
        (DENOISER, PHOTO, {"x": np.zeros((1, 1, 66, 64), np.float32)}, 413, "4224 pixels, the limit is 4096"),
        (DENOISER, PHOTO, {"x": np.zeros((1, 1, 0, 8), np.float32)}, 422, "found 0 × 8"),
        (f"{WRITER}.log_density", TEXT, {"input_ids": np.array([[START, -1, 2]])}, 422, "input_ids: expected values"),
        (f"{WRITER}.log_density", TEXT, {"input_ids": np.array([[START, 99, 2]])}, 422, "found 0 to 99"),
        (f"{WRITER}.log_density", TEXT, {"lengths": np.array([4])}, 422, "lengths: expected values from 1 to 3"),
        (f"{WRITER}.log_density", TEXT, {"lengths": np.array([0])}, 422, "lengths: expected values from 1 to 3"),
        (f"{WRITER}.log_density", {}, {"input_ids": np.ones((1, 34), int), "lengths": np.array([1])}, 422, "1 to 33"),
        (WRITER, STEP, {"input_ids": np.array([[-1], [2]])}, 422, "input_ids: expected values from 0"),
        (WRITER, STEP, {"input_ids": np.array([[99], [2]])}, 422, "input_ids: expected values from 0"),
        (WRITER, STEP, {"seqlens_k": np.array([8, 0], np.int32)}, 422, "seqlens_k: expected values from 0 to 7"),
        (WRITER, STEP, {"seqlens_k": np.array([3, -1], np.int32)}, 422, "seqlens_k: expected values from 0 to 7"),
        (WRITER, STEP, {"seqlens_k": np.array([2, 0], np.int32)}, 422, "total_sequence_length: expected 3"),
        (WRITER, STEP, {"total_sequence_length": np.array(9, np.int32)}, 422, "total_sequence_length: expected 4"),
        (WRITER, STEP, {"total_sequence_length": np.array([4], np.int32)}, 422, "found int32[1]"),
        (WRITER, STEP, {"input_ids": np.ones((2, 2), int)}, 422, "2 tokens on top of a past need a row alone"),
        (WRITER, STEP, {"input_ids": np.ones((2, 5), int)}, 422, "total_sequence_length: expected 5 or more"),
        (WRITER, STEP, {"input_ids": np.ones((2, 33), int)}, 422, "rows of 1 to 32 tokens"),
        (
            WRITER,
            STEP,
            {"past_key_values.0.key": np.zeros((2, 1, 9, 16), np.float32)},
            422,
            "cache = 9, found float32[2, 1, 8, 16]",
        ),
        (WRITER, STEP, {"past_key_values.1.value": np.full((2, 1, 8, 16), np.inf, np.float32)}, 422, "finite"),
        (
            WRITER,
            STEP,
            {name: np.zeros((2, 1, 33, 16), np.float32) for name in STEP if "past" in name},
            422,
            "expected room for 32 tokens at most",
        ),
        (WRITER, {}, {n: a[:1].repeat(9, 0) if a.ndim else a for n, a in STEP.items()}, 413, "expected 1 to 8 rows"),
        (PIXELS, LONE, {"input_ids": np.array([[5]])}, 422, "input_ids: expected values from 0 to 4"),
    ],
)
def test_tensors_that_a_graph_cannot_take_are_refused(
    api: Api, name: str, sound: dict[str, np.ndarray], changes: dict[str, Any], status: int, says: str
) -> None:
    inputs = {n: a for n, a in {**sound, **changes}.items() if a is not None}
    answer = infer(api, name, inputs)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json"), answer.text
    assert says in answer.json()["error"]
    assert list(answer.json()) == ["error"]


def test_several_tokens_on_top_of_a_past_are_one_row_s(api: Api) -> None:
    changes = {"input_ids": np.ones((1, 2), int)}
    assert read(infer(api, WRITER, {**LONE, **changes}))


@pytest.mark.parametrize(
    ("content", "headers", "status", "says"),
    [
        (b"{", {}, 400, "expected JSON"),
        (b"[]", {}, 422, "body"),
        (b"{}", {}, 422, "inputs: expected a value, found none"),
        (b'{"inputs": [], "flavour": 1}', {}, 422, "flavour: there is no such field"),
        (b'{"inputs": []}', {}, 422, "x: expected float32[batch, 3], found none"),
        (b'{"inputs": []}', {LENGTH: "99"}, 400, "expected the bytes of JSON in a body of 14, found '99'"),
        (b'{"inputs": []}', {LENGTH: "-1"}, 400, "found '-1'"),
        (b'{"inputs": []}', {LENGTH: "³"}, 400, "found"),
        (b'{"inputs": []}..', {LENGTH: "14"}, 400, "expected 0 bytes of tensors behind the JSON, found 2"),
        (b'{"inputs": []}', {"content-type": "text/plain"}, 415, "expected application/json or"),
        (b'{"inputs": []}', {"content-encoding": "br"}, 415, "expected gzip or deflate"),
        (b'{"inputs": []}', {"content-encoding": "gzip"}, 400, "expected gzip"),
        (b'{"inputs": [], "parameters": {"binary_data_output": 1}}', {}, 422, "expected true or false, found 1"),
        (b'{"inputs": [], "parameters": {"timeout": 5}}', {}, 422, "x-request-timeout"),
        (b'{"inputs": [], "parameters": {"priority": 5}}', {}, 422, "x-request-priority"),
        (b'{"inputs": [], "parameters": {"sequence_id": 5}}', {}, 422, "nothing is kept between requests"),
        (b'{"inputs": [], "outputs": [{"name": "y"}]}', {}, 422, "outputs: expected some of log_prob, found 'y'"),
    ],
)
def test_bodies_that_are_none_are_refused(
    api: Api, content: bytes, headers: dict[str, str], status: int, says: str
) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    answer = api.post(f"/v2/models/{TABLE}.log_density/infer", content=content, headers=raw)
    assert (answer.status_code, says in answer.json()["error"]) == (status, True), answer.text


def test_outputs_that_are_not_there_are_refused(api: Api) -> None:
    answer = infer(api, GENERATOR, LATENT, outputs=[{"name": "y"}])
    assert (answer.status_code, answer.json()) == (422, {"error": "outputs: expected some of x, found 'y'"})
    answer = infer(api, GENERATOR, LATENT, outputs=[{"name": "x", "parameters": {"classification": 3}}])
    assert "parameters.classification" in answer.json()["error"]


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_bodies_may_come_compressed(api: Api, encoding: str, pack: Callable[[bytes], bytes]) -> None:
    content, headers = request(LATENT)
    plain = api.post(f"/v2/models/{GENERATOR}/infer", content=content, headers=headers)
    headers["content-encoding"] = encoding
    packed = api.post(f"/v2/models/{GENERATOR}/infer", content=pack(content), headers=headers)
    np.testing.assert_array_equal(read(packed)["x"], read(plain)["x"])
    bomb = pack(b" " * (api.settings.max_body_bytes + 1))
    answer = api.post(f"/v2/models/{GENERATOR}/infer", content=bomb, headers={"content-encoding": encoding})
    assert (answer.status_code, "when unpacked" in answer.json()["error"]) == (413, True)


def test_long_json_is_read_in_pieces_and_to_the_bit(make_api: Callable[..., Api]) -> None:
    api = make_api(max_body_bytes=2**23, max_rows=10_000)
    inputs = {"x": np.random.default_rng(0).normal(size=(10_000, 3)).astype(np.float32)}
    content, _ = request(inputs, binary=False)
    content = content.replace(b"[", b"[" + b" " * 2**20)  # longer than what is parsed at once
    name = f"{TABLE}.log_density"
    found = read(api.post(f"/v2/models/{name}/infer", content=content))["log_prob"]
    np.testing.assert_array_equal(found, read(infer(api, name, inputs))["log_prob"])


def test_keys_protect_graphs_and_not_health(make_api: Callable[..., Api], tmp_path: Path) -> None:
    key, digest = new_key()
    (tmp_path / "keys.toml").write_text(f'[nightly]\nsha256 = "{digest}"')
    api = make_api(keys_file=tmp_path / "keys.toml")
    assert [api.get(path).status_code for path in ("/v2", "/v2/health/live", "/v2/health/ready")] == [200] * 3
    for method, path in (
        ("GET", f"/v2/models/{GENERATOR}"),
        ("GET", f"/v2/models/{GENERATOR}/ready"),
        ("POST", f"/v2/models/{GENERATOR}/infer"),
        ("POST", "/v2/repository/index"),
    ):
        answer = api.run(api.send(method, path))
        assert (answer.status_code, list(answer.json())) == (401, ["error"])
    content, headers = request(LATENT)
    authorized = {**headers, "authorization": f"Bearer {key}"}
    assert api.post(f"/v2/models/{GENERATOR}/infer", content=content, headers=authorized).status_code == 200


def test_it_is_on_the_client_s_terms_and_within_the_queue(make_api: Callable[..., Api]) -> None:
    api = make_api(queue_requests=1)
    content, headers = request(LATENT)
    one = {"method": "POST", "path": f"/v2/models/{GENERATOR}/infer", "content": content}

    async def crowd() -> list[httpx.Response]:
        api.gate.close()
        first = asyncio.create_task(api.send(**one, headers={**headers, "x-request-timeout": "0.2"}))
        await asyncio.to_thread(api.gate.reached.wait, 10)
        second = await api.send(**one, headers=headers)
        late = await first
        api.gate.open()
        await api.idle()
        return [second, late]

    full, late = api.run(crowd())
    assert (full.status_code, list(full.json())) == (429, ["error"])
    assert int(full.headers["retry-after"]) >= 1
    assert (late.status_code, list(late.json())) == (504, ["error"])


def test_a_client_that_leaves_takes_its_work_along(make_api: Callable[..., Api]) -> None:
    api = make_api()
    body = orjson.loads(request(LATENT, binary=False)[0])

    async def leave(conversation: Conversation) -> None:
        await asyncio.to_thread(api.gate.reached.wait, 10)
        await conversation.leave()

    api.gate.close()
    api.converse(leave, "POST", f"/v2/models/{GENERATOR}/infer", body)
    api.gate.open()
    api.run(api.idle())
    route = {"route": "/v2/models/{name}/infer"}
    assert api.metrics.registry.get_sample_value("amostra_cancelled_requests_total", route) == 1


def test_requests_are_counted_by_model(make_api: Callable[..., Api]) -> None:
    api = make_api()
    assert infer(api, f"{WRITER}.next_token", STEP).status_code == 200
    labels = {"route": "/v2/models/{name}/infer", "method": "POST", "status": "200", "model": WRITER}
    assert api.metrics.registry.get_sample_value("amostra_requests_total", labels) == 1
    step = {"model": WRITER, "capability": str(Capability.NEXT_TOKEN)}
    assert api.metrics.registry.get_sample_value("amostra_step_duration_seconds_count", step) == 1
