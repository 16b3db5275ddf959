"""From a directory to a model in memory, or a refusal that says what was expected and what was found.

Nothing in the directory is trusted: the manifest is strict, every file's hash is checked on the very bytes that are
loaded, graphs may not reach outside the directory or bring operators of their own, arrays are read without pickle, and
the session's real inputs and outputs are compared with the manifest's.
"""

import ctypes
import hashlib
import io
import itertools
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from tokenizers import Tokenizer

from contract import Capability, Manifest, ManifestError, TensorSpec, read_manifest
from contract.manifest import Calibration, FileRef, Graph
from service.engine.rows import BUCKETS, NUMPY, RowRunner
from service.engine.sequences import SequenceRunner
from service.model import LoadedModel
from service.settings import Settings

log = logging.getLogger("amostra.loading")

OPERATOR_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}
PNG = b"\x89PNG\r\n\x1a\n"
MAX_FILE_BYTES = 8 * 2**30
_FIXED_ROWS = 16
_loads = itertools.count(1)


class ModelRefused(Exception):
    """A model that cannot be served; the message says what was expected and what was found."""


def load_model(directory: Path, settings: Settings, device: str) -> LoadedModel:
    """Load `<name>/<version>/` and run each of its graphs once.

    Raises ModelRefused.
    """
    start = time.monotonic()
    try:
        manifest = read_manifest(directory)
    except ManifestError as error:
        raise ModelRefused(str(error)) from error
    found = f"{directory.parent.name}/{directory.name}"
    if (manifest.name, manifest.version) != (directory.parent.name, directory.name):
        raise ModelRefused(f"directory: expected {manifest.name}/{manifest.version} as in the manifest, found {found}")
    runners: dict[Capability, RowRunner | SequenceRunner] = {}
    providers: dict[Capability, str] = {}
    for capability, graph in manifest.capabilities.items():
        session = _session(directory, capability, graph, settings, device)
        providers[capability] = session.get_providers()[0]
        runners[capability] = _runner(session, capability, graph, manifest, settings, providers[capability])
    model = LoadedModel(
        manifest=manifest,
        key=f"{manifest.name}@{manifest.version}#{next(_loads)}",
        runners=runners,
        providers=providers,
        tokenizer=_tokenizer(directory, manifest),
        calibration=_calibration(directory, manifest.calibration) if manifest.calibration else None,
        sheet=_sheet(directory, manifest.sheet) if manifest.sheet else None,
        load_seconds=time.monotonic() - start,
    )
    for capability in runners:
        _warm(model, capability)
    return model


def find_device(wanted: str) -> str:
    """The device for graphs, "cuda" or "cpu".

    `onnxruntime-gpu` falls back to the CPU without a word and lists CUDA on machines that have none, so the driver is
    asked. Raises RuntimeError where CUDA is demanded and missing.
    """
    if wanted == "cpu":
        return "cpu"
    try:
        driver = ctypes.CDLL("libcuda.so.1")
        count = ctypes.c_int(0)
        present = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
    except OSError:
        present = False
    if present and "CUDAExecutionProvider" in ort.get_available_providers():
        ort.preload_dlls()
        return "cuda"
    reason = "the NVIDIA driver finds no GPU" if not present else "this onnxruntime was built without CUDA"
    if wanted == "cuda":
        raise RuntimeError(f"AMOSTRA_PROVIDER=cuda, but {reason}: set it to cpu or auto, or install the [gpu] extra")
    log.warning("every model runs on the CPU: %s", reason)
    return "cpu"


def _session(
    directory: Path, capability: Capability, graph: Graph, settings: Settings, device: str
) -> ort.InferenceSession:
    blob = _read(directory, graph)
    _check_graph(blob, graph, directory)
    options = ort.SessionOptions()
    options.intra_op_num_threads = settings.intra_op_threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    # Attention over a shared key/value buffer in float32 has a CPU kernel only.
    on_device = device == "cuda" and capability is not Capability.NEXT_TOKEN
    wanted = ["CUDAExecutionProvider", "CPUExecutionProvider"] if on_device else ["CPUExecutionProvider"]
    source = str(directory / graph.file) if graph.external_data else blob
    try:
        session = ort.InferenceSession(source, options, providers=wanted)
    except Exception as error:  # the runtime's exceptions have no common base
        raise ModelRefused(f"{graph.file}: expected a graph that ONNX Runtime can run, found {error}") from error
    if session.get_providers()[0] != wanted[0]:
        message = f"{graph.file}: expected to run on {wanted[0]}, found {session.get_providers()[0]}"
        if settings.provider == "cuda":
            raise ModelRefused(message)
        log.warning("%s/%s: %s", directory.parent.name, directory.name, message)
    _check_ports(graph.file, "input", graph.inputs, session.get_inputs())
    _check_ports(graph.file, "output", graph.outputs, session.get_outputs())
    return session


def _runner(
    session: ort.InferenceSession,
    capability: Capability,
    graph: Graph,
    manifest: Manifest,
    settings: Settings,
    provider: str,
) -> RowRunner | SequenceRunner:
    if capability is Capability.NEXT_TOKEN:
        try:
            return SequenceRunner(session, settings.text_slots, manifest.context)
        except (KeyError, TypeError, ValueError) as error:
            expected = "float32 or float16 caches with fixed numbers of heads and of elements"
            raise ModelRefused(f"{graph.file}: expected {expected}, found {error}") from error
    device = "cuda" if provider == "CUDAExecutionProvider" else "cpu"
    return RowRunner(session, device, _buckets(graph, device))


def _buckets(graph: Graph, device: str) -> tuple[int, ...]:
    """Batch sizes in which a row's bits are the same, so that the same seed gives the same bytes.

    Where they are not, a CPU runs each row alone: reductions over rows of odd length depend on a row's place in the
    batch too, which one fixed size does not cure.
    """
    known = graph.batch_invariance
    if known is None or known.max_abs_diff > 0:
        return (_FIXED_ROWS,) if device == "cuda" else (1,)
    return tuple(b for b in BUCKETS if b >= min(known.batch_sizes))


def _read(directory: Path, ref: FileRef) -> bytes:
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


def _check_graph(blob: bytes, graph: Graph, directory: Path) -> None:
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
        _read(directory, ref)
    own = {function.domain for function in proto.functions}
    foreign = {node.domain for part in _parts(proto) for node in part.node} - OPERATOR_DOMAINS - own
    if foreign:
        raise ModelRefused(f"{graph.file}: expected operators of {sorted(OPERATOR_DOMAINS)}, found {sorted(foreign)}")


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


def _check_ports(file: str, side: str, expected: tuple[TensorSpec, ...], found: list) -> None:
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


def _tokenizer(directory: Path, manifest: Manifest) -> Tokenizer | None:
    if manifest.text is None:
        return None
    ref = manifest.text.tokenizer
    try:
        tokenizer = Tokenizer.from_str(_read(directory, ref).decode("utf-8"))
    except ModelRefused:
        raise
    except Exception as error:  # the library raises bare exceptions
        raise ModelRefused(f"{ref.file}: expected a tokenizer.json, found {error}") from error
    size = tokenizer.get_vocab_size()
    if size < manifest.text.vocabulary:
        raise ModelRefused(f"{ref.file}: expected {manifest.text.vocabulary} tokens, found {size}")
    return tokenizer


def _calibration(directory: Path, calibration: Calibration) -> np.ndarray:
    ref = calibration.scores
    try:
        scores = np.lib.format.read_array(io.BytesIO(_read(directory, ref)), allow_pickle=False)
    except ModelRefused:
        raise
    except Exception as error:  # ValueError, EOFError, MemoryError … for broken files
        raise ModelRefused(f"{ref.file}: expected a .npy array without objects, found {error}") from error
    sound = scores.dtype == np.float64 and scores.shape == (calibration.size,) and np.isfinite(scores).all()
    if not sound or (np.diff(scores) < 0).any():
        raise ModelRefused(
            f"{ref.file}: expected {calibration.size} finite float64 scores in ascending order, "
            f"found {scores.dtype}{scores.shape}"
        )
    return scores


def _sheet(directory: Path, ref: FileRef) -> bytes:
    blob = _read(directory, ref)
    if not blob.startswith(PNG):
        raise ModelRefused(f"{ref.file}: expected a PNG, found {blob[:8]!r}")
    return blob


def _warm(model: LoadedModel, capability: Capability) -> None:
    runner = model.runners[capability]
    graph = model.manifest.capabilities[capability]
    try:
        if isinstance(runner, SequenceRunner):
            runner.warm()
        else:
            runner.warm({t.name: _blank(t, model.manifest) for t in graph.inputs})
    except Exception as error:
        raise ModelRefused(f"{graph.file}: expected a graph that runs on a blank input, found {error}") from error


def _blank(tensor: TensorSpec, manifest: Manifest) -> np.ndarray:
    side = 8 * manifest.data.side_multiple
    if manifest.text is not None:
        side = min(side, manifest.text.context)
    shape = [1, *(d if isinstance(d, int) else side for d in tensor.shape[1:])]
    fill = side if tensor.name == "lengths" else 0
    return np.full(shape, fill, np.dtype(tensor.dtype))
