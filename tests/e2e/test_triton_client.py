"""NVIDIA Triton's own client, as it is, reads the metadata of every graph of every shipped model and runs it: with the very
numbers that ONNX Runtime gives for the same tensors."""

import asyncio
from collections.abc import Iterator

import numpy as np
import onnxruntime as ort
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from contract import Capability, Manifest, read_manifest
from service.engine.job import Arrays
from service.model import Card
from service.tasks.tokens import width_of
from tests.service.test_shipped_models import SHIPPED, rows_for

ROWS = 3
GRAPHS = [(manifest, capability) for manifest in map(read_manifest, SHIPPED) for capability in manifest.capabilities]
NAMES = [f"{manifest.name}.{capability}" for manifest, capability in GRAPHS]


def tensors_for(manifest: Manifest, capability: Capability) -> Arrays:
    """Random inputs; of `next_token`, one token for each row on top of pasts of different lengths."""
    if capability is not Capability.NEXT_TOKEN:
        width = width_of(manifest.text.context // 2, manifest.text.context) if manifest.text else 0
        return rows_for(Card(manifest=manifest, providers={}), capability, ROWS, width)  # type: ignore[arg-type]
    rng, length = np.random.default_rng(0), manifest.context // 4
    made: Arrays = {
        "input_ids": rng.integers(0, 60, (ROWS, 1)),
        "seqlens_k": np.array([length - 1, length // 2, 0], np.int32),
        "total_sequence_length": np.array(length, np.int32),
    }
    for tensor in manifest.capabilities[capability].inputs[len(made) :]:
        shape = [ROWS, tensor.shape[1], length + 5, tensor.shape[3]]
        made[tensor.name] = rng.normal(size=shape).astype(np.float32)
    return made


def direct(manifest: Manifest, capability: Capability, inputs: Arrays) -> Arrays:
    """What ONNX Runtime makes of them, on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    directory = next(path for path in SHIPPED if path.parent.name == manifest.name)
    file = directory / manifest.capabilities[capability].file
    session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, inputs), strict=True))


def said(inputs: Arrays, *, binary: bool = True) -> list[triton.InferInput]:
    """The tensors as the client has them."""
    made = []
    for name, array in inputs.items():
        made.append(triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)))
        made[-1].set_data_from_numpy(array, binary_data=binary)
    return made


@pytest.fixture(scope="module")
def address(shipped_service: str) -> str:
    return shipped_service.removeprefix("http://")


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(address, network_timeout=120) as client:
        yield client


def test_the_server_is_known(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata()["name"] == "amostra"
    assert {item["name"] for item in client.get_model_repository_index()} == set(NAMES)


@pytest.mark.parametrize(("manifest", "capability"), GRAPHS, ids=NAMES)
def test_every_graph_is_described_and_run(
    client: triton.InferenceServerClient, manifest: Manifest, capability: Capability
) -> None:
    name, graph = f"{manifest.name}.{capability}", manifest.capabilities[capability]
    assert client.is_model_ready(name)
    assert client.is_model_ready(name, manifest.version)
    about = client.get_model_metadata(name)
    assert [tensor["name"] for tensor in about["inputs"]] == [tensor.name for tensor in graph.inputs]
    assert [tensor["name"] for tensor in about["outputs"]] == [tensor.name for tensor in graph.outputs]
    inputs = tensors_for(manifest, capability)
    answer = client.infer(name, said(inputs), request_id="7")
    head = answer.get_response()
    assert (head["id"], head["model_name"], head["model_version"]) == ("7", name, manifest.version)
    for output, expected in direct(manifest, capability, inputs).items():
        np.testing.assert_array_equal(answer.as_numpy(output), expected, err_msg=output)


def test_in_json_it_is_the_same(client: triton.InferenceServerClient) -> None:
    for name in ("pendigits-flow.log_density", "mnist-gan.decode", "shakespeare-bigram.next_token"):
        manifest, capability = GRAPHS[NAMES.index(name)]
        inputs, outputs = tensors_for(manifest, capability), manifest.capabilities[capability].outputs
        wanted = [triton.InferRequestedOutput(tensor.name, binary_data=False) for tensor in outputs]
        answer = client.infer(name, said(inputs, binary=False), outputs=wanted)
        for output, expected in direct(manifest, capability, inputs).items():
            assert "data" in answer.get_output(output)
            np.testing.assert_array_equal(answer.as_numpy(output), expected)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_it_is_the_same(client: triton.InferenceServerClient, algorithm: str) -> None:
    manifest, capability = GRAPHS[NAMES.index("mnist-vae.encode")]
    inputs = tensors_for(manifest, capability)
    answer = client.infer(
        "mnist-vae.encode",
        said(inputs),
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )
    np.testing.assert_array_equal(answer.as_numpy("embedding"), direct(manifest, capability, inputs)["embedding"])


def test_many_at_once_get_the_same_numbers(address: str) -> None:
    """The asynchronous client, all graphs together, three times over."""

    async def everything() -> list[triton.InferResult]:
        async with triton_aio.InferenceServerClient(address, conn_timeout=120) as client:
            assert await client.is_server_ready()
            asked = [
                client.infer(n, said(tensors_for(*g))) for n, g in zip(NAMES, GRAPHS, strict=True) for _ in range(3)
            ]
            return await asyncio.gather(*asked)

    answers = asyncio.run(everything())
    for i, (manifest, capability) in enumerate(GRAPHS):
        expected = direct(manifest, capability, tensors_for(manifest, capability))
        for answer in answers[3 * i : 3 * i + 3]:
            for output, array in expected.items():
                np.testing.assert_array_equal(answer.as_numpy(output), array, err_msg=f"{NAMES[i]} {output}")


def test_errors_are_the_client_s(client: triton.InferenceServerClient) -> None:
    assert not client.is_model_ready("nobody")
    with pytest.raises(InferenceServerException, match=r"there is no 'nobody'; there are mnist-autoencoder\.encode"):
        client.get_model_metadata("nobody")
    wrong = said({"z": np.zeros((1, 3), np.float32)})
    with pytest.raises(
        InferenceServerException, match=r"z: expected float32\[batch, 24\], found float32\[1, 3\]"
    ) as found:
        client.infer("mnist-vae.decode", wrong)
    assert found.value.status() == "422"
