"""Routes of the Open Inference Protocol (KServe v2) with Triton's binary extension: every graph of every model, as it is.

A graph is a model of the protocol: `mnist-vae.encode` is the graph `encode` of mnist-vae. A model's name alone stands for
the first graph of its manifest.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from contract import Capability, TensorSpec
from service.api import answer, asked, body
from service.api.aside import aside
from service.api.held import hold_of
from service.api.parsing import parse_json
from service.api.results import results
from service.api.state import state_of
from service.api.terms import PRIORITY, TIMEOUT
from service.codecs import compressed, tensors
from service.entry import Entry
from service.errors import BadRequest, Invalid, NotFound, NotReady, UnsupportedMediaType
from service.inference_schemas import IndexBody, InferBody, Parameters
from service.tasks import infer as inferring

OCTETS, HEADER_LENGTH = "application/octet-stream", "inference-header-content-length"
_MUCH = 65_536
_MUCH_OF_NUMBERS = 2**20
_STATES = {"ready": "READY", "unloaded": "READY", "loading": "LOADING", "refused": "UNAVAILABLE"}
"""An unloaded model is loaded again by the request that asks for it."""
_NOT_HERE = {
    "shared_memory_region": "tensors come and go in the body: send them there",
    "classification": "choose the largest values yourself: leave it out",
    "sequence_id": "nothing is kept between requests: send what came before with each",
    "priority": f"say it with the header {PRIORITY}",
    "timeout": f"say it with the header {TIMEOUT}, in seconds",
}
"""Parameters that would change the answer, and what to do instead."""


async def server_metadata(request: Request) -> Response:
    """The server's name, version and extensions of the protocol."""
    version = request.app.state.openapi["info"]["version"]
    return answer.json({"name": "amostra", "version": version, "extensions": ["binary_tensor_data"]})


async def server_live(request: Request) -> Response:
    """The process answers."""
    return answer.json({"live": True})


async def server_ready(request: Request) -> Response:
    """The store is loaded, its default models are there."""
    if request.app.stopping.begun or not state_of(request).catalog.ready():
        raise NotReady("the models are being loaded, or the service is stopping: ask again", retry_after=1)
    return answer.json({"ready": True})


async def model_metadata(request: Request) -> Response:
    """Inputs and outputs of a graph, called model.graph; of a model's first graph, if called model."""
    entry, capability = _find(request)
    assert entry.card is not None, "what is found has one"
    graph = entry.card.manifest.capabilities[capability]
    others = [e for e in state_of(request).catalog.entries() if e.name == entry.name and e.card is not None]
    about = {
        "name": request.path_params["name"],
        "versions": [e.version for e in others if e.card and capability in e.card.manifest.capabilities],
        "platform": "onnxruntime_onnx",
        "inputs": [_described(tensor) for tensor in graph.inputs],
        "outputs": [_described(tensor) for tensor in graph.outputs],
    }
    return answer.json(about)


async def version_metadata(request: Request) -> Response:
    """Inputs and outputs of a graph in one version of its model."""
    return await model_metadata(request)


async def model_ready(request: Request) -> Response:
    """Whether a graph can be asked for."""
    _find(request)
    return answer.json({"name": request.path_params["name"], "ready": True})


async def version_ready(request: Request) -> Response:
    """Whether a graph in one version of its model can be asked for."""
    return await model_ready(request)


async def repository_index(request: Request) -> Response:
    """Every graph of every version of every model."""
    state = state_of(request)
    blob = await body.read(request, state.settings.max_body_bytes)
    ask = parse_json(blob, IndexBody) if blob.strip() else IndexBody()
    return answer.json([item for e in state.catalog.entries() if e.card or not ask.ready for item in _indexed(e)])


async def infer(request: Request) -> Response:
    """Run a graph."""
    state = state_of(request)
    kind = body.media_type(request)
    if kind not in ("", answer.JSON, OCTETS):
        raise UnsupportedMediaType(f"content-type: expected {answer.JSON} or {OCTETS}, found {kind[:80]!r}")
    blob = await body.read(request, state.settings.max_body_bytes)
    much = len(blob) > _MUCH
    ask, given = await aside(much, _parse, blob, request.headers, state.settings.max_body_bytes)
    entry, capability = _find(request)
    model = await asked.loaded(request, state, entry)
    wanted = _wanted(ask, [tensor.name for tensor in model.manifest.capabilities[capability].outputs])
    about = {"model_name": request.path_params["name"], "model_version": model.version}
    about |= {"id": ask.id} if ask.id else {}
    inputs = await aside(much, inferring.check, model, capability, given, state.settings)
    del blob, ask, given  # a request may wait for long
    hold_of(request).keep(sum(array.nbytes for array in inputs.values()))
    job = inferring.infer(model, capability, inputs), inferring.work(model, capability, inputs)
    (found,) = await results(request, state, model, f"infer {capability}", [job], list(inputs.values()))
    outputs = {name: found[name] for name in wanted}
    return await aside(sum(array.size for array in outputs.values()) > _MUCH, _answer, about, outputs, wanted)


async def version_infer(request: Request) -> Response:
    """Run a graph in one version of its model."""
    return await infer(request)


def _find(request: Request) -> tuple[Entry, Capability]:
    """The entry and the graph that the path names. Raises NotFound, NotReady."""
    catalog = state_of(request).catalog
    wanted, version = request.path_params["name"], request.path_params.get("version")
    name, _, graph = wanted.partition(".")
    if name not in {entry.name for entry in catalog.entries()}:
        raise NotFound(f"model: there is no {wanted[:80]!r}; there are {_names(catalog.current())}", field="model")
    entry = catalog.find(name if version is None else f"{name}@{version}")
    assert entry.card is not None, "find() gives no other"
    for capability in entry.card.manifest.capabilities:
        if graph in ("", capability):
            return entry, capability
    raise NotFound(f"model: there is no {wanted[:80]!r}; of {name} there are {_names([entry])}", field="model")


def _names(entries: list[Entry]) -> str:
    return ", ".join(item["name"] for entry in entries for item in _indexed(entry)) or "none yet"


def _indexed(entry: Entry) -> Iterator[dict[str, str]]:
    """The graphs of an entry; of one that was never loaded they are not known."""
    graphs = [f"{entry.name}.{c}" for c in entry.card.manifest.capabilities] if entry.card else [entry.name]
    state = "READY" if entry.model is not None else _STATES[entry.state]
    for name in graphs:
        yield {"name": name, "version": entry.version, "state": state, "reason": entry.problem or ""}


def _described(tensor: TensorSpec) -> dict[str, Any]:
    shape = [side if isinstance(side, int) else -1 for side in tensor.shape]
    return {"name": tensor.name, "datatype": tensors.DATATYPES[tensor.dtype], "shape": shape}


def _parse(blob: bytes, headers: Mapping[str, str], limit: int) -> tuple[InferBody, dict[str, np.ndarray]]:
    """The request, and its inputs by name. Raises BadRequest, Invalid, TooLarge, UnsupportedMediaType."""
    blob = compressed.unpack(blob, headers.get("content-encoding", "").strip().lower(), limit)
    length = headers.get(HEADER_LENGTH, str(len(blob)))
    if not (length.isascii() and length.isdecimal() and len(length) < 20 and int(length) <= len(blob)):
        raise BadRequest(
            f"{HEADER_LENGTH}: expected the bytes of JSON in a body of {len(blob)}, found {length[:40]!r}",
            field=HEADER_LENGTH,
        )
    json = blob[: int(length)]
    apart: list[np.ndarray] = []
    if len(json) > _MUCH_OF_NUMBERS:
        json, apart = tensors.numbers_apart(json)
    ask = parse_json(json, InferBody)
    of_tensors = [*(tensor.parameters for tensor in ask.inputs), *(tensor.parameters for tensor in ask.outputs)]
    for parameters in (ask.parameters, *of_tensors):
        _refuse(parameters)
    return ask, tensors.decode(ask, memoryview(blob)[int(length) :], apart)


def _refuse(parameters: Parameters) -> None:
    for name, remedy in _NOT_HERE.items():
        if parameters.get(name):
            raise Invalid(f"parameters.{name}: {remedy}", field=f"parameters.{name}")


def _wanted(ask: InferBody, outputs: list[str]) -> dict[str, bool]:
    """The outputs to answer with, and whether each comes in binary. Raises Invalid."""
    default = _flag(ask.parameters, "binary_data_output", False)
    if not ask.outputs:
        return dict.fromkeys(outputs, default)
    for tensor in ask.outputs:
        if tensor.name not in outputs:
            found = tensor.name[:80]
            raise Invalid(f"outputs: expected some of {', '.join(outputs)}, found {found!r}", field="outputs")
    return {tensor.name: _flag(tensor.parameters, tensors.BINARY, default) for tensor in ask.outputs}


def _flag(parameters: Parameters, name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise Invalid(f"parameters.{name}: expected true or false, found {value!r:.40}", field=f"parameters.{name}")
    return value


def _answer(about: dict[str, Any], outputs: dict[str, np.ndarray], wanted: dict[str, bool]) -> Response:
    content, length = tensors.encode(about, outputs, [name for name, binary in wanted.items() if binary])
    if length is None:
        return Response(content, media_type=answer.JSON)
    return Response(content, 200, {HEADER_LENGTH: str(length)}, OCTETS)
