"""Files and graphs of a model directory, of which nothing is trusted.

Every file's hash is checked on the very bytes that are loaded, graphs may not reach outside the directory or bring operators
of their own, and a session's real inputs and outputs are compared with the manifest's.
"""

import functools
import hashlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from contract import Capability, TensorSpec
from contract.kernels import choose_kernels, halve_attention, transpose_convolutions
from contract.manifest import FileRef, Graph
from service.cores import beside_first
from service.engine.brake import Brake, BrakedSession
from service.engine.device_text import mover_of
from service.engine.rows import NUMPY
from service.providers import CPU, CUDA, halved, providers_of
from service.settings import Settings

log = logging.getLogger("amostra.loading")

OPERATOR_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}
MAX_FILE_BYTES = 8 * 2**30
_SPIN_MICROSECONDS = "500"


class ModelRefused(Exception):
    """A model that cannot be served; the message says what was expected and what was found."""


def open_session(
    directory: Path,
    capability: Capability,
    graph: Graph,
    settings: Settings,
    device: str,
    brake: Brake,
    threads: int,
    *,
    captured: bool = False,
) -> BrakedSession:
    """A session of one graph, that keeps its signature and obeys the brake. Raises ModelRefused.

    `captured` asks for one whose runs can be CUDA graphs, which ONNX Runtime refuses where parts of it run elsewhere. On a
    GPU a text's keys and values are float16, whatever the manifest says.
    """
    blob = read_file(directory, graph)
    proto = _checked(blob, graph, directory)
    choose_kernels()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that wait for each other spin, and go on for as long as the next step of a text or the next request of a lone
    # client takes to come: to wake them takes a tenth of a step, and a third of a small image.
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if threads > 1 else "0")
    options.add_session_config_entry("session.intra_op.spin_duration_us", _SPIN_MICROSECONDS)
    others = beside_first(threads) if settings.pin_workers and threads > settings.intra_op_threads else None
    if others is not None:
        cores = ";".join(str(core + 1) for core in others)  # the runtime counts from one
        options.add_session_config_entry("session.intra_op_thread_affinities", cores)
    options.log_severity_level = 3
    wanted = providers_of(graph, settings, device, captured=captured)
    first = wanted[0][0]
    options.use_deterministic_compute = first != CPU
    if first == CPU:
        _share_arena()
        options.add_session_config_entry("session.use_env_allocators", "1")
        # Weights are not in it, so that they go with their model.
        options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(directory))
    in_half: frozenset[str] = frozenset()
    try:
        if first == CUDA and capability is Capability.NEXT_TOKEN:
            in_half = halve_attention(proto)
            blob = proto.SerializeToString()
        elif first == CUDA and halved(graph, settings):
            blob = _in_float16(proto, directory)
        elif first == CPU and transpose_convolutions(proto):
            blob = proto.SerializeToString()
        session = BrakedSession(brake, blob, options, providers=wanted)
    except Exception as error:  # the runtime's exceptions have no common base
        raise ModelRefused(f"{graph.file}: expected a graph that ONNX Runtime can run, found {error}") from error
    if session.get_providers()[0] != first:
        message = f"{graph.file}: expected to run on {first}, found {session.get_providers()[0]}"
        if settings.provider in ("cuda", "tensorrt"):
            raise ModelRefused(message)
        log.warning("%s/%s: %s", directory.parent.name, directory.name, message)
    for side, specs, ports in (
        ("input", graph.inputs, session.get_inputs()),
        ("output", graph.outputs, session.get_outputs()),
    ):
        found = [s.model_copy(update={"dtype": "float16"}) if s.name in in_half else s for s in specs]
        _check_ports(graph.file, side, found, ports)
    return session


def open_mover(session: BrakedSession, context: int, settings: Settings, graph: Graph) -> BrakedSession:
    """A session of the graph that moves rows of a text's keys and values, on the same device."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    wanted = providers_of(graph, settings, "cpu" if session.get_providers()[0] == CPU else "cuda")
    return BrakedSession(session.brake, mover_of(session, context), options, providers=wanted)


def _in_float16(proto: onnx.ModelProto, directory: Path) -> bytes:
    """The graph, which computes in float16 and takes and gives what it did."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.load_external_data_for_model(proto, str(directory))
    return convert_float_to_float16(proto, keep_io_types=True).SerializeToString()


@functools.cache
def _share_arena() -> None:
    """Let the sessions of this process compute in one arena. An arena never shrinks, and one for each session would grow to
    the largest batches of all of them together, of which no two may ever come at the same time."""
    kind, memory = ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, ort.OrtMemType.DEFAULT
    ort.create_and_register_allocator(ort.OrtMemoryInfo("Cpu", kind, 0, memory), None)


def read_file(directory: Path, ref: FileRef) -> bytes:
    """The bytes of a file of the model, as the manifest has them. Raises ModelRefused."""
    path = directory / ref.file
    try:
        if not path.resolve(strict=True).is_relative_to(directory.resolve()):
            raise ModelRefused(f"{ref.file}: expected a file inside the model's directory, found a link out of it")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ModelRefused(f"{ref.file}: expected at most {MAX_FILE_BYTES} bytes, found {path.stat().st_size}")
        blob = path.read_bytes()
    except OSError as error:
        raise ModelRefused(f"{ref.file}: expected a readable file, found {error.strerror}") from error
    digest = hashlib.sha256(blob).hexdigest()
    if digest != ref.sha256:
        raise ModelRefused(f"{ref.file}: expected sha256 {ref.sha256}, found {digest} ({len(blob)} bytes)")
    return blob


def _checked(blob: bytes, graph: Graph, directory: Path) -> onnx.ModelProto:
    """The graph, which names no files but those of its manifest and no strange operators. Raises ModelRefused."""
    try:
        proto = onnx.load_model_from_string(blob)
    except Exception as error:  # protobuf's DecodeError, by whichever implementation
        raise ModelRefused(f"{graph.file}: expected an ONNX model, found {error}") from error
    listed = {ref.file: ref for ref in graph.external_data}
    for tensor in _tensors(proto):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        location = next((e.value for e in tensor.external_data if e.key == "location"), "")
        if location not in listed:
            raise ModelRefused(
                f"{graph.file}: expected the data of {tensor.name} in the file or in one of external_data "
                f"{sorted(listed)}, found {location!r}"
            )
    for ref in graph.external_data:
        read_file(directory, ref)
    own = {function.domain for function in proto.functions}
    foreign = {node.domain for part in _parts(proto) for node in part.node} - OPERATOR_DOMAINS - own
    if foreign:
        raise ModelRefused(f"{graph.file}: expected operators of {sorted(OPERATOR_DOMAINS)}, found {sorted(foreign)}")
    return proto


def _parts(proto: onnx.ModelProto) -> Iterator[onnx.GraphProto | onnx.FunctionProto]:
    """The graph, the functions, and the graphs inside of their nodes."""
    waiting = [proto.graph, *proto.functions]
    while waiting:
        part = waiting.pop()
        yield part
        for attribute in (a for node in part.node for a in node.attribute):
            waiting += [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]


def _tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Everything that can name a file."""
    for part in _parts(proto):
        sparse: list[onnx.SparseTensorProto] = []
        if isinstance(part, onnx.GraphProto):
            yield from part.initializer
            sparse += part.sparse_initializer
        for attribute in (a for node in part.node for a in node.attribute):
            yield attribute.t
            yield from attribute.tensors
            sparse += [attribute.sparse_tensor, *attribute.sparse_tensors]
        for tensor in sparse:
            yield tensor.values
            yield tensor.indices


def _check_ports(file: str, side: str, expected: Sequence[TensorSpec], found: list) -> None:
    real = {p.name: p for p in found}
    for spec in expected:
        port = real.pop(spec.name, None)
        if port is None:
            raise ModelRefused(f"{file}: expected {side} {spec}, found none of that name")
        dtype = np.dtype(NUMPY[port.type]).name if port.type in NUMPY else port.type
        same_shape = len(port.shape) == len(spec.shape) and all(
            a == b if isinstance(b, int) else not isinstance(a, int)
            for a, b in zip(port.shape, spec.shape, strict=True)
        )
        if dtype != spec.dtype or not same_shape:
            raise ModelRefused(f"{file}: expected {side} {spec}, found {port.name}: {dtype}{port.shape}")
    if real:
        raise ModelRefused(f"{file}: expected no other {side}s than the manifest's, found {sorted(real)}")
